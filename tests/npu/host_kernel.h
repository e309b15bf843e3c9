// Runs an operator of a device on host memory: shared by the stand-in for torch_npu and by the host arithmetic under
// the real one. A file that includes this defines lend() and take_back(). Test use only.
#pragma once
#include <torch/extension.h>
#include <torch/library.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace {
using c10::Device;
using c10::DeviceIndex;
using c10::IValue;
using Stack = torch::jit::Stack;
constexpr auto NPU = c10::DeviceType::PrivateUse1;

// Random operators draw from the host's generator, which goes on from the device's for the length of the call.
void lend(at::Generator& device, at::Generator& host);
void take_back(at::Generator& device, at::Generator& host);

// ---------------------------------------------------------------- host views of device tensors
// One host storage over the same bytes for each device storage, so that aliases stay aliases.
struct Views {
  std::unordered_map<c10::StorageImpl*, c10::Storage> host;
  std::unordered_map<void*, at::Tensor> device;  // host data pointer -> a device tensor of that storage

  at::Tensor to_host(const at::Tensor& t, bool resizable = false) {
    if (!t.defined() || t.device().type() != NPU) return t;
    if (resizable && t.storage().nbytes() == 0) {  // an out= argument of size 0
      return at::empty(t.sizes(), t.options().device(at::kCPU).requires_grad(false));
    }
    auto* impl = t.storage().unsafeGetStorageImpl();
    auto it = host.find(impl);
    if (it == host.end()) {
      auto release = [](void* kept) { delete static_cast<c10::Storage*>(kept); };
      c10::DataPtr data(impl->mutable_data(), new c10::Storage(t.storage()), release, Device(c10::kCPU));
      c10::Storage bytes(c10::Storage::use_byte_size_t(), impl->nbytes(), std::move(data), nullptr, false);
      it = host.emplace(impl, std::move(bytes)).first;
      if (impl->mutable_data()) device.emplace(impl->mutable_data(), t);
    }
    auto r = at::detail::make_tensor<c10::TensorImpl>(
        c10::Storage(it->second), c10::DispatchKeySet(c10::DispatchKey::CPU), t.dtype());
    r.unsafeGetTensorImpl()->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
    if (t.unsafeGetTensorImpl()->is_wrapped_number()) r.unsafeGetTensorImpl()->set_wrapped_number(true);
    return r;
  }

  at::Tensor to_device(const at::Tensor& t, Device d) {
    if (!t.defined() || t.device().type() != c10::kCPU) return t;
    auto hit = device.find(const_cast<void*>(t.storage().data()));
    if (t.numel() && hit != device.end()) return alias(hit->second, t);
    auto r = at::empty_strided(t.sizes(), t.strides(), t.options().device(d));
    if (t.numel()) {
      auto left = t.storage().nbytes() - t.storage_offset() * t.itemsize();
      memcpy(r.mutable_data_ptr(), t.const_data_ptr(), std::min<size_t>(left, r.storage().nbytes()));
    }
    return r;
  }

  // A view of an argument shares its storage, and is an inference tensor only where the argument is one.
  static at::Tensor alias(const at::Tensor& base, const at::Tensor& shape) {
    auto r = at::detail::make_tensor<c10::TensorImpl>(
        c10::TensorImpl::VIEW, c10::Storage(base.storage()), base.key_set(), shape.dtype());
    if (base.dtype() == shape.dtype()) {
      at::AutoDispatchBelowADInplaceOrView below;
      r = base.as_strided(shape.sizes(), shape.strides(), shape.storage_offset());
    } else {
      r.unsafeGetTensorImpl()->set_sizes_and_strides(shape.sizes(), shape.strides(), shape.storage_offset());
    }
    return r;
  }
};

// ---------------------------------------------------------------- census: "operator|types of its device tensors" -> calls
std::mutex census_mutex;
std::map<std::string, int64_t> census;
const bool census_on = getenv("EARMARK_NPU_CENSUS") != nullptr;

void count(const std::string& what) {
  std::lock_guard<std::mutex> guard(census_mutex);
  ++census[what];
}

std::string full_name(const c10::OperatorHandle& op) {
  const auto& name = op.schema().operator_name();
  return name.overload_name.empty() ? name.name : name.name + "." + name.overload_name;
}

// ---------------------------------------------------------------- the one kernel
// operators that real devices, too, give host tensors of more than one element among device ones
const std::set<std::string> mixes = {
    "aten::_copy_from", "aten::_copy_from_and_resize", "aten::copy_", "aten::index.Tensor", "aten::index.Tensor_out",
    "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_index_put_impl_.out",
    "aten::set_.source_Storage_storage_offset", "aten::_local_scalar_dense"};

template <class Seen>
void each_tensor(const std::vector<IValue>& args, Seen seen) {
  for (auto& a : args) {
    if (a.isTensor()) seen(a.toTensor());
    else if (a.isTensorList()) for (const at::Tensor& t : a.toTensorVector()) seen(t);
    else if (a.isOptionalTensorList()) for (const auto& t : a.toOptionalTensorVector()) if (t) seen(*t);
  }
}

// The device that the tensors of a call are on; refuses several, and the host beside one.
std::optional<Device> device_of(const std::string& name, const std::vector<IValue>& args) {
  std::optional<Device> found;
  bool stray = false;
  std::string types;
  each_tensor(args, [&](const at::Tensor& t) {
    if (!t.defined()) return;
    if (t.device().type() == NPU) {
      if (census_on) types += std::string(types.empty() ? "" : ",") + c10::toString(t.scalar_type());
      TORCH_CHECK(!found || *found == t.device() || mixes.count(name), name, ": tensors on ", *found, " and ", t.device());
      if (!found) found = t.device();
    } else if (t.device().type() == c10::kCPU && t.dim() > 0) {
      stray = true;
    }
  });
  TORCH_CHECK(!(found && stray) || mixes.count(name),
              "Expected all tensors to be on the same device, but found at least two devices, ", *found, " and cpu! (", name, ")");
  if (census_on) count(name + "|" + types);
  return found;
}

// An argument that the call resized takes over the host tensor's new shape and bytes.
void settle(Views& views, const at::Tensor& dev, const at::Tensor& host, Device target) {
  if (!dev.defined() || dev.device().type() != NPU) return;
  auto* impl = dev.unsafeGetTensorImpl();
  if (dev.storage().nbytes() && dev.storage().data() == host.storage().data()) {
    if (dev.sizes() != host.sizes() || dev.strides() != host.strides())
      impl->set_sizes_and_strides(host.sizes(), host.strides(), host.storage_offset());
    return;
  }
  auto fresh = views.to_device(host, target);
  impl->set_storage_keep_dtype(fresh.storage());
  impl->set_sizes_and_strides(fresh.sizes(), fresh.strides(), fresh.storage_offset());
}

// Swap every device argument on the stack for its host view; the device may be named by an argument, too.
void arguments_to_host(const c10::FunctionSchema& schema, Stack* stack, size_t base, Views& views, bool found,
                       Device& target, at::Generator& gen) {
  for (size_t i = 0; i < schema.arguments().size(); ++i) {
    auto& slot = (*stack)[base + i];
    const auto* info = schema.arguments()[i].alias_info();
    const bool written = info && info->isWrite();
    if (slot.isTensor()) {
      slot = views.to_host(slot.toTensor(), written);
    } else if (slot.isTensorList()) {
      auto list = slot.toTensorVector();
      for (auto& t : list) t = views.to_host(t, written);
      slot = c10::List<at::Tensor>(list);
    } else if (slot.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const auto& t : slot.toOptionalTensorVector())
        list.push_back(t ? std::optional<at::Tensor>(views.to_host(*t)) : std::nullopt);
      slot = list;
    } else if (slot.isDevice() && slot.toDevice().type() == NPU) {
      if (!found && slot.toDevice().has_index()) target = slot.toDevice();
      slot = Device(c10::kCPU);
    } else if (slot.isGenerator()) {
      gen = slot.toGenerator();
      slot = IValue();
    }
  }
}

void results_to_device(const c10::FunctionSchema& schema, Stack* stack, const std::vector<IValue>& args, Views& views,
                       Device target) {
  const size_t first = stack->size() - schema.returns().size();
  for (size_t r = 0; r < schema.returns().size(); ++r) {
    auto& slot = (*stack)[first + r];
    const auto* info = schema.returns()[r].alias_info();
    if (info && info->isWrite()) {  // in place or out=: the argument itself
      for (size_t i = 0; i < args.size(); ++i) {
        const auto* of_argument = schema.arguments()[i].alias_info();
        if (of_argument && of_argument->isWrite() && *of_argument == *info) {
          slot = args[i];
          break;
        }
      }
    } else if (slot.isTensor()) {
      slot = views.to_device(slot.toTensor(), target);
    } else if (slot.isTensorList()) {
      auto list = slot.toTensorVector();
      for (auto& t : list) t = views.to_device(t, target);
      slot = c10::List<at::Tensor>(list);
    }
  }
}

void boxed(const c10::OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  const auto& schema = op.schema();
  const size_t n = schema.arguments().size(), base = stack->size() - n;
  const std::vector<IValue> args(stack->begin() + base, stack->end());  // on the device
  const auto found = device_of(full_name(op), args);
  Device target = found.value_or(Device(NPU, c10::impl::VirtualGuardImpl(NPU).getDevice().index()));
  at::Generator gen = at::globalContext().defaultGenerator(target);
  Views views;
  arguments_to_host(schema, stack, base, views, found.has_value(), target, gen);
  const std::vector<IValue> hosts(stack->begin() + base, stack->end());
  c10::DeviceGuard on_target(target);
  if (op.hasTag(at::Tag::nondeterministic_seeded)) {
    auto host_gen = at::detail::getDefaultCPUGenerator();
    const auto kept = host_gen.get_state();
    lend(gen, host_gen);
    try {
      op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
    } catch (...) {
      host_gen.set_state(kept);
      throw;
    }
    take_back(gen, host_gen);
    host_gen.set_state(kept);
  } else {
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  }
  for (size_t i = 0; i < n; ++i) {
    const auto* info = schema.arguments()[i].alias_info();
    if (!info || !info->isWrite()) continue;
    if (args[i].isTensor()) {
      if (args[i].toTensor().defined()) settle(views, args[i].toTensor(), hosts[i].toTensor(), target);
    } else if (args[i].isTensorList()) {
      auto dev = args[i].toTensorVector(), host = hosts[i].toTensorVector();
      for (size_t k = 0; k < dev.size(); ++k) settle(views, dev[k], host[k], target);
    }
  }
  results_to_device(schema, stack, args, views, target);
}

// ---------------------------------------------------------------- convolution and copies, which have no host twin by name
using Ints = at::IntArrayRef;

at::Tensor conv(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b, Ints stride, Ints padding,
                Ints dilation, bool transposed, Ints output_padding, int64_t groups) {
  Views v;
  auto bias = b && b->defined() ? std::optional<at::Tensor>(v.to_host(*b)) : std::nullopt;
  return v.to_device(
      at::convolution(v.to_host(x), v.to_host(w), bias, stride, padding, dilation, transposed, output_padding, groups),
      x.device());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> conv_backward(
    const at::Tensor& grad, const at::Tensor& x, const at::Tensor& w, Ints stride, Ints padding, Ints dilation,
    bool transposed, Ints output_padding, int64_t groups, std::array<bool, 3> mask) {
  Views v;
  const int64_t channels = w.size(transposed ? 1 : 0) * (transposed ? groups : 1);
  auto [dx, dw, db] = at::convolution_backward(v.to_host(grad), v.to_host(x), v.to_host(w), Ints({channels}), stride,
                                               padding, dilation, transposed, output_padding, groups, mask);
  return {v.to_device(dx, x.device()), v.to_device(dw, x.device()), v.to_device(db, x.device())};
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& dst, bool) {
  Views v;
  v.to_host(dst).copy_(v.to_host(self));
  return dst;
}

// ---------------------------------------------------------------- "hccl": gloo over host views
using Vec = std::vector<at::Tensor>; using VecVec = std::vector<Vec>;
struct Hccl final : c10d::Backend {
  c10::intrusive_ptr<c10d::Backend> inner;
  Hccl(c10::intrusive_ptr<c10d::Backend> b) : Backend(b->getRank(), b->getSize()), inner(std::move(b)) {}
  const std::string getBackendName() const override { return "hccl"; }
  static at::Tensor h(const at::Tensor& t) {
    TORCH_CHECK(t.device().type() == NPU, "hccl: expected an npu tensor, got ", t.device()); Views v; return v.to_host(t);
  }
  static Vec h(Vec v) { for (auto& t : v) t = h(t); return v; }
  static VecVec h(VecVec v) { for (auto& t : v) t = h(t); return v; }
  using W = c10::intrusive_ptr<c10d::Work>;
  W broadcast(Vec& t, const c10d::BroadcastOptions& o) override { auto a = h(t); return inner->broadcast(a, o); }
  W allreduce(Vec& t, const c10d::AllreduceOptions& o) override { auto a = h(t); return inner->allreduce(a, o); }
  W allreduce_coalesced(Vec& t, const c10d::AllreduceCoalescedOptions& o) override { auto a = h(t); return inner->allreduce_coalesced(a, o); }
  W reduce(Vec& t, const c10d::ReduceOptions& o) override { auto a = h(t); return inner->reduce(a, o); }
  W allgather(VecVec& o, Vec& i, const c10d::AllgatherOptions& p) override { auto a = h(o); auto b = h(i); return inner->allgather(a, b, p); }
  W _allgather_base(at::Tensor& o, at::Tensor& i, const c10d::AllgatherOptions& p) override { auto a = h(o).view(-1), b = h(i).view(-1); return inner->_allgather_base(a, b, p); }  // gloo minds the shapes, hccl does not
  W allgather_into_tensor_coalesced(Vec& o, Vec& i, const c10d::AllgatherOptions& p) override { auto a = h(o), b = h(i); return inner->allgather_into_tensor_coalesced(a, b, p); }
  W gather(VecVec& o, Vec& i, const c10d::GatherOptions& p) override { auto a = h(o); auto b = h(i); return inner->gather(a, b, p); }
  W scatter(Vec& o, VecVec& i, const c10d::ScatterOptions& p) override { auto a = h(o); auto b = h(i); return inner->scatter(a, b, p); }
  W _reduce_scatter_base(at::Tensor& o, at::Tensor& i, const c10d::ReduceScatterOptions& p) override { auto a = h(o).view(-1), b = h(i).view(-1); return inner->_reduce_scatter_base(a, b, p); }
  W alltoall_base(at::Tensor& o, at::Tensor& i, std::vector<int64_t>& os, std::vector<int64_t>& is, const c10d::AllToAllOptions& p) override { auto a = h(o), b = h(i); return inner->alltoall_base(a, b, os, is, p); }
  W send(Vec& t, int d, int g) override { auto a = h(t); return inner->send(a, d, g); }
  W recv(Vec& t, int s, int g) override { auto a = h(t); return inner->recv(a, s, g); }
  W barrier(const c10d::BarrierOptions& o) override { auto p = o; p.device_ids.clear(); p.device.reset(); return inner->barrier(p); }
  void setSequenceNumberForGroup() override { inner->setSequenceNumberForGroup(); }
  uint64_t getSequenceNumberForGroup() override { return inner->getSequenceNumberForGroup(); }
};
}  // namespace
