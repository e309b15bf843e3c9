// Host-memory stand-in for an accelerator, registered on PrivateUse1. Test use only.
#include "host_kernel.h"
#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/Resize.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/as_strided_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/distributed/c10d/reducer_timer.hpp>
#include <atomic>
#include <chrono>

namespace {
// ---------------------------------------------------------------- devices
int device_count() {
  static const int n = [] { const char* e = getenv("NPU_STANDIN_DEVICES"); return e ? atoi(e) : 2; }();
  return n;
}
thread_local DeviceIndex current = 0;
void use(DeviceIndex i) {
  TORCH_CHECK(i >= 0 && i < device_count(), "npu stand-in: device ", int(i), " of ", device_count());
  current = i;
}

// ---------------------------------------------------------------- memory
struct Stats { std::atomic<int64_t> now{0}, peak{0}; };
Stats stats[16];
struct Block { int64_t size; DeviceIndex dev; };
std::mutex mem_mutex;
std::map<void*, Block> blocks;   // device blocks, by start
std::set<void*> pinned;

void* host_block(size_t n) { return aligned_alloc(512, (n + 511) / 512 * 512 + 512); }
void free_device(void* p) {
  if (!p) return;
  std::lock_guard<std::mutex> g(mem_mutex);
  auto it = blocks.find(p);
  if (it != blocks.end()) { stats[it->second.dev].now -= it->second.size; blocks.erase(it); }
  free(p);
}
struct DeviceAlloc final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    Device d(NPU, current);
    if (!n) return {nullptr, nullptr, &free_device, d};
    void* p = host_block(n);
    std::lock_guard<std::mutex> g(mem_mutex);
    blocks[p] = {int64_t(n), current};
    auto& s = stats[current]; s.now += n;
    if (s.now > s.peak) s.peak = s.now.load();
    return {p, p, &free_device, d};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_device; }
  void copy_data(void* d, const void* s, size_t n) const override { memcpy(d, s, n); }
} device_alloc;

void free_pinned(void* p) { std::lock_guard<std::mutex> g(mem_mutex); pinned.erase(p); free(p); }
struct PinnedAlloc final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    void* p = host_block(n);
    std::lock_guard<std::mutex> g(mem_mutex);
    pinned.insert(p);
    return {p, p, &free_pinned, Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_pinned; }
  void copy_data(void* d, const void* s, size_t n) const override { memcpy(d, s, n); }
} pinned_alloc;

// ---------------------------------------------------------------- random numbers
struct Gen final : at::CPUGeneratorImpl {           // same engine as the CPU one, its own state
  explicit Gen(DeviceIndex i) { device_ = Device(NPU, i); key_set_ = c10::DispatchKeySet(c10::DispatchKey::PrivateUse1); }
};
at::Generator& default_gen(DeviceIndex i) {
  static std::vector<at::Generator> g = [] {
    std::vector<at::Generator> v;
    for (int k = 0; k < device_count(); ++k) v.push_back(at::make_generator<Gen>(k));
    return v;
  }();
  return g.at(i < 0 ? current : i);
}

// the engine is the host's: its whole state goes over and back
void lend(at::Generator& device, at::Generator& host) { host.set_state(device.get_state()); }
void take_back(at::Generator& device, at::Generator& host) { device.set_state(host.get_state()); }

// ---------------------------------------------------------------- guard, events, hooks
int64_t ms_clock() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return NPU; }
  Device exchangeDevice(Device d) const override { Device o = getDevice(); use(d.index()); return o; }
  Device getDevice() const override { return {NPU, current}; }
  void setDevice(Device d) const override { use(d.index()); }
  void uncheckedSetDevice(Device d) const noexcept override { current = d.index(); }
  c10::Stream getStream(Device d) const override { return c10::Stream(c10::Stream::DEFAULT, d.has_index() ? d : getDevice()); }
  c10::Stream getDefaultStream(Device d) const override { return getStream(d); }
  c10::Stream getStreamFromGlobalPool(Device d, bool) const override { return getStream(d); }
  c10::Stream getNewStream(Device d, int) const override { return getStream(d); }
  c10::Stream exchangeStream(c10::Stream s) const override { return getStream(s.device()); }
  DeviceIndex deviceCount() const noexcept override { return device_count(); }
  void record(void** e, const c10::Stream&, DeviceIndex, c10::EventFlag) const override { if (!*e) *e = new int64_t; *static_cast<int64_t*>(*e) = ms_clock(); }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void* e, DeviceIndex) const noexcept override { delete static_cast<int64_t*>(e); }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(DeviceIndex) const override {}
  double elapsedTime(void* a, void* b, DeviceIndex) const override { return (*static_cast<int64_t*>(b) - *static_cast<int64_t*>(a)) / 1e3; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return device_count() > 0; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return device_count(); }
  void setCurrentDevice(DeviceIndex i) const override { use(i); }
  DeviceIndex getCurrentDevice() const override { return current; }
  DeviceIndex exchangeDevice(DeviceIndex i) const override { auto o = current; use(i); return o; }
  DeviceIndex maybeExchangeDevice(DeviceIndex i) const override { return exchangeDevice(i); }
  const at::Generator& getDefaultGenerator(DeviceIndex i) const override { return default_gen(i); }
  at::Generator getNewGenerator(DeviceIndex i) const override { return at::make_generator<Gen>(i < 0 ? current : i); }
  Device getDeviceFromPtr(void*) const override { return {NPU, current}; }
  bool isPinnedPtr(const void* p) const override {
    std::lock_guard<std::mutex> g(mem_mutex); return pinned.count(const_cast<void*>(p)) > 0;
  }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned_alloc; }
  void resizePrivateUse1Bytes(const c10::Storage& s, size_t n) const override {
    use(s.device().index());
    auto fresh = device_alloc.allocate(n);
    if (s.data() && n) memcpy(fresh.get(), s.data(), std::min<size_t>(n, s.nbytes()));
    s.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(fresh));
    s.unsafeGetStorageImpl()->set_nbytes(n);
  }
};

// ---------------------------------------------------------------- the few kernels that need their own code
at::Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dt, std::optional<at::Layout>, std::optional<Device> d,
                 std::optional<bool>, std::optional<at::MemoryFormat> mf) {
  c10::OptionalDeviceGuard g(d);
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &device_alloc, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dt), mf);
}
at::Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<at::ScalarType> dt, std::optional<at::Layout>,
                         std::optional<Device> d, std::optional<bool>) {
  c10::OptionalDeviceGuard g(d);
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), &device_alloc,
    c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dt));
}
at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& dst) { dst.resize_(self.sizes()); return copy_from(self, dst, false); }
const at::Tensor& resize_(const at::Tensor& self, c10::SymIntArrayRef size, std::optional<at::MemoryFormat> mf) {
  auto s = C10_AS_INTARRAYREF_SLOW(size);
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_sizes_contiguous(s);
  if (mf && *mf != at::MemoryFormat::Preserve) impl->empty_tensor_restride(*mf);
  const size_t need = at::detail::computeStorageNbytes(impl->sizes(), impl->strides(), self.itemsize(), self.storage_offset());
  if (need > self.storage().nbytes()) at::detail::getPrivateUse1Hooks().resizePrivateUse1Bytes(self.storage(), need);
  return self;
}
at::Tensor& set_storage(at::Tensor& self, at::Storage src, c10::SymInt off, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(src));
  auto s = C10_AS_INTARRAYREF_SLOW(size); auto st = C10_AS_INTARRAYREF_SLOW(stride);
  if (st.empty() && !s.empty()) { impl->set_sizes_contiguous(s); impl->set_storage_offset(off.expect_int()); }
  else impl->set_sizes_and_strides(s, st, off.expect_int());
  return self;
}
at::Tensor& set_tensor(at::Tensor& self, const at::Tensor& o) { return set_storage(self, o.storage(), o.storage_offset(), o.sym_sizes(), o.sym_strides()); }
at::Tensor& set_whole(at::Tensor& self, at::Storage s) {
  auto n = int64_t(s.nbytes() / self.itemsize()); return set_storage(self, s, 0, c10::SymIntArrayRef({c10::SymInt(n)}), {});
}
at::Tensor& set_none(at::Tensor& self) {
  return set_storage(self, at::Storage(at::Storage::use_byte_size_t(), 0, device_alloc.allocate(0), &device_alloc, true), 0, c10::SymIntArrayRef({c10::SymInt(0)}), {});
}
at::Tensor as_strided(const at::Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                      std::optional<c10::SymInt> offset) {
  std::optional<int64_t> at_offset;
  if (offset) at_offset = offset->expect_int();
  return at::native::as_strided_tensorimpl(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), at_offset);
}
void record_stream(at::Tensor&, at::Stream) {}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&boxed>()); }
TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty); m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from); m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("resize_", &resize_); m.impl("record_stream", &record_stream);
  m.impl("convolution_overrideable", &conv); m.impl("convolution_backward_overrideable", &conv_backward);
  m.impl("as_strided", &as_strided);
  m.impl("_fused_adamw_", torch::CppFunction::makeFromBoxedFunction<&boxed>());
  m.impl("set_.source_Storage_storage_offset", &set_storage); m.impl("set_.source_Storage", &set_whole);
  m.impl("set_.source_Tensor", &set_tensor); m.impl("set_", &set_none);
}
using namespace at;                                      // the list below names its types unqualified
TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) { m.fallback(torch::CppFunction::makeFallthrough()); }
TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
#define LOW(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, lower_precision_fp)
  AT_FORALL_LOWER_PRECISION_FP(LOW)
#define F32(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32)
  AT_FORALL_FP32(F32)
#define OPT(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32_set_opt_dtype)
  AT_FORALL_FP32_SET_OPT_DTYPE(OPT)
  AT_FORALL_DIFFERENT_REDISPATCH_SIGNATURE(KERNEL_DIFFERENT_REDISPATCH_SIGNATURE_PRIVATEUSEONE)
#define PRO(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, promote)
  AT_FORALL_PROMOTE(PRO)
}

} // namespace

namespace c10d {                                         // DDP asks for a timer by device type
struct StandinTimer final : Timer {
  explicit StandinTimer(c10::Device) {}
  std::optional<int64_t> measureDifference(Event s, Event e) override {
    auto a = getTimeRef(s), b = getTimeRef(e);
    return a == kUnsetTime || b == kUnsetTime || b < a ? std::nullopt : std::optional<int64_t>(b - a);
  }
};
C10_REGISTER_TYPED_CLASS(TimerRegistry, c10::kPrivateUse1, StandinTimer);
} // namespace c10d

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("start", [] {
    static Hooks hooks;
    c10::SetAllocator(NPU, &device_alloc, 1);
    at::RegisterPrivateUse1HooksInterface(&hooks);
  });
  m.def("device_count", &device_count);
  m.def("current_device", [] { return int(current); });
  m.def("set_device", [](int i) { use(i); });
  m.def("default_generator", [](int i) { return default_gen(i); });
  m.def("memory_now", [](int i) { return stats[i].now.load(); });
  m.def("memory_peak", [](int i) { return stats[i].peak.load(); });
  m.def("reset_peak", [](int i) { stats[i].peak = stats[i].now.load(); });
  m.def("census", [] { std::lock_guard<std::mutex> g(census_mutex); return census; });
  m.def("hccl", [](c10::intrusive_ptr<c10d::Backend> b) -> c10::intrusive_ptr<c10d::Backend> { return c10::make_intrusive<Hccl>(std::move(b)); });
}
