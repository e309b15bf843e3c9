// Host arithmetic under the real torch_npu: the kernels that it registers are replaced by the host's. Test use only.
#include "host_kernel.h"

namespace {
// torch_npu's generator counts draws (seed and offset); the host's engine has to be seeded from both
void lend(at::Generator& device, at::Generator& host) {
  host.set_current_seed(device.current_seed() * 0x9E3779B97F4A7C15ull + device.get_offset());
}
void take_back(at::Generator& device, at::Generator&) { device.set_offset(device.get_offset() + 4); }

at::Tensor& copy_(at::Tensor& self, const at::Tensor& from, bool) {
  Views v;
  v.to_host(self).copy_(v.to_host(from));
  return self;
}

std::set<std::string> unregistered;  // operators that ran and that torch_npu has no kernel for

void fall_back(const c10::OperatorHandle& op, c10::DispatchKeySet keys, Stack* stack) {
  {
    std::lock_guard<std::mutex> guard(census_mutex);
    unregistered.insert(full_name(op));
  }
  boxed(op, keys, stack);
}

// Operators that torch composes of others and torch_npu has one kernel for: composed, on tensors of the device.
void composed(const c10::OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
}

// torch_npu's own formulas for gradients lead to its own kernels: torch's formulas instead.
void torchs_formula(const c10::OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::AutogradCPU), stack);
}

template <auto kernel>
void implement(torch::Library& library, const std::vector<std::string>& names) {
  for (const auto& name : names) library.impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<kernel>());
}
}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("take_over", [](const std::vector<std::string>& kernels, const std::vector<std::string>& compositions,
                        const std::vector<std::string>& missing, const std::vector<std::string>& formulas) {
    static torch::Library device(torch::Library::IMPL, "aten", c10::DispatchKey::PrivateUse1, __FILE__, __LINE__);
    implement<&boxed>(device, kernels);
    implement<&composed>(device, compositions);
    implement<&fall_back>(device, missing);
    device.impl("convolution_overrideable", &conv);
    device.impl("convolution_backward_overrideable", &conv_backward);
    device.impl("copy_", &copy_);
    device.impl("_copy_from", &copy_from);
    static torch::Library gradient(torch::Library::IMPL, "aten", c10::DispatchKey::AutogradPrivateUse1, __FILE__, __LINE__);
    implement<&torchs_formula>(gradient, formulas);
  });
  m.def("hccl", [](c10::intrusive_ptr<c10d::Backend> gloo) -> c10::intrusive_ptr<c10d::Backend> {
    return c10::make_intrusive<Hccl>(std::move(gloo));
  });
  m.def("census", [] { std::lock_guard<std::mutex> guard(census_mutex); return census; });
  m.def("unregistered", [] { std::lock_guard<std::mutex> guard(census_mutex); return unregistered; });
}
