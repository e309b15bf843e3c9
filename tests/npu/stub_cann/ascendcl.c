// Stands in for CANN under the real torch_npu: memory is the host's, streams and events do nothing, devices are numbers.
// Test use only. STUB_CANN_DEVICES sets how many there are (2), STUB_CANN_SOC which chip (Ascend910B2).
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

typedef int aclError;
typedef void* Handle;
enum { FAILED_NO_DEVICE = 107001, FAILED_NO_MEMORY = 207001 };

static int device_count(void) {
  const char* said = getenv("STUB_CANN_DEVICES");
  return said ? atoi(said) : 2;
}

// devices
static __thread int current = 0;
aclError aclrtGetDeviceCount(uint32_t* n) { *n = device_count(); return 0; }
aclError aclrtSetDevice(int device) {
  if (device < 0 || device >= device_count()) return FAILED_NO_DEVICE;
  current = device;
  return 0;
}
aclError aclrtGetDevice(int* device) { *device = current; return 0; }
const char* aclrtGetSocName(void) {
  const char* said = getenv("STUB_CANN_SOC");
  return said ? said : "Ascend910B2";
}
aclError aclrtGetCurrentContext(Handle* context) { static char contexts[64]; *context = contexts + current; return 0; }
aclError aclrtDeviceCanAccessPeer(int* can, int a, int b) { *can = 1; return 0; }
aclError aclrtGetSysParamOpt(int option, int64_t* value) { *value = 0; return 0; }
aclError aclrtCtxGetSysParamOpt(int option, int64_t* value) { *value = 0; return 0; }
const char* aclGetRecentErrMsg(void) { return ""; }

// memory
aclError aclrtMalloc(void** p, size_t n, int policy) {
  *p = aligned_alloc(512, (n + 511) / 512 * 512);
  return *p ? 0 : FAILED_NO_MEMORY;
}
aclError aclrtMallocAlign32(void** p, size_t n, int policy) { return aclrtMalloc(p, n, policy); }
aclError aclrtMallocHost(void** p, size_t n) { return aclrtMalloc(p, n, 0); }
aclError aclrtFree(void* p) { free(p); return 0; }
aclError aclrtFreeHost(void* p) { free(p); return 0; }
aclError aclrtMemcpy(void* to, size_t room, const void* from, size_t n, int kind) { memmove(to, from, n); return 0; }
aclError aclrtMemcpyAsync(void* to, size_t room, const void* from, size_t n, int kind, Handle stream) {
  memmove(to, from, n);
  return 0;
}
aclError aclrtMemset(void* to, size_t room, int value, size_t n) { memset(to, value, n); return 0; }
aclError aclrtGetMemInfo(int kind, size_t* free_bytes, size_t* total) {
  *free_bytes = (size_t)60 << 30;
  *total = (size_t)64 << 30;
  return 0;
}

// virtual memory, for expandable segments: addresses are reserved first, and given pages when they are mapped
enum { PAGE = 4096 };
aclError aclrtReserveMemAddress(void** p, size_t n, size_t alignment, void* wanted, uint64_t flags) {
  char* start = mmap(NULL, n + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return FAILED_NO_MEMORY;
  mprotect(start, PAGE, PROT_READ | PROT_WRITE);
  *(size_t*)start = n + PAGE;  // for the release
  *p = start + PAGE;
  return 0;
}
aclError aclrtReleaseMemAddress(void* p) { char* start = (char*)p - PAGE; return munmap(start, *(size_t*)start); }
aclError aclrtMallocPhysical(Handle* block, size_t n, const void* kind, uint64_t flags) {
  *block = malloc(sizeof n);
  *(size_t*)*block = n;
  return 0;
}
aclError aclrtFreePhysical(Handle block) { free(block); return 0; }
aclError aclrtMapMem(void* p, size_t n, size_t offset, Handle block, uint64_t flags) {
  return mprotect(p, n, PROT_READ | PROT_WRITE) ? FAILED_NO_MEMORY : 0;
}

// streams and events; an event holds the time in milliseconds at which it was recorded
static aclError handle(Handle* h) { *h = calloc(1, 64); return 0; }
aclError aclrtCreateStream(Handle* stream) { return handle(stream); }
aclError aclrtCreateStreamWithConfig(Handle* stream, uint32_t priority, uint32_t flag) { return handle(stream); }
aclError aclrtStreamQuery(Handle stream, int* status) { *status = 0; return 0; }
aclError aclrtCreateEvent(Handle* event) { return handle(event); }
aclError aclrtCreateEventWithFlag(Handle* event, uint32_t flag) { return handle(event); }
aclError aclrtCreateEventExWithFlag(Handle* event, uint32_t flag) { return handle(event); }
aclError aclrtDestroyEvent(Handle event) { free(event); return 0; }
aclError aclrtQueryEventStatus(Handle event, int* status) { *status = 1; return 0; }
aclError aclrtQueryEventWaitStatus(Handle event, int* status) { *status = 1; return 0; }
aclError aclrtRecordEvent(Handle event, Handle stream) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  *(double*)event = now.tv_sec * 1e3 + now.tv_nsec / 1e6;
  return 0;
}
aclError aclrtEventElapsedTime(float* ms, Handle start, Handle end) {
  *ms = (float)(*(double*)end - *(double*)start);
  return 0;
}

// all else that torch_npu 2.13.0 links to succeeds and does nothing
#define NOTHING(name) aclError name(void) { return 0; }
NOTHING(MsprofGetHashId)
NOTHING(MsprofRegisterCallback)
NOTHING(MsprofReportAdditionalInfo)
NOTHING(MsprofReportApi)
NOTHING(MsprofReportCompactInfo)
NOTHING(MsprofSysCycleTime)
NOTHING(aclAppLog)
NOTHING(aclCreateDataBuffer)
NOTHING(aclCreateTensorDesc)
NOTHING(aclDestroyDataBuffer)
NOTHING(aclDestroyTensorDesc)
NOTHING(aclFinalize)
NOTHING(aclGetDeviceCapability)
NOTHING(aclGetTensorDescDimV2)
NOTHING(aclGetTensorDescFormat)
NOTHING(aclGetTensorDescNumDims)
NOTHING(aclGetTensorDescType)
NOTHING(aclInit)
NOTHING(aclSetCompileopt)
NOTHING(aclSetTensorDescName)
NOTHING(aclSetTensorFormat)
NOTHING(aclSetTensorPlaceMent)
NOTHING(aclSetTensorShape)
NOTHING(aclmdlFinalizeDump)
NOTHING(aclmdlInitDump)
NOTHING(aclmdlSetDump)
NOTHING(aclopCompileAndExecute)
NOTHING(aclopCreateAttr)
NOTHING(aclopDestroyAttr)
NOTHING(aclopSetAttrBool)
NOTHING(aclopSetAttrDataType)
NOTHING(aclopSetAttrFloat)
NOTHING(aclopSetAttrInt)
NOTHING(aclopSetAttrListBool)
NOTHING(aclopSetAttrListFloat)
NOTHING(aclopSetAttrListInt)
NOTHING(aclopSetAttrListListInt)
NOTHING(aclopSetAttrString)
NOTHING(aclrtBinaryGetFunction)
NOTHING(aclrtBinaryLoadFromData)
NOTHING(aclrtCtxSetSysParamOpt)
NOTHING(aclrtDestroyStream)
NOTHING(aclrtDestroyStreamForce)
NOTHING(aclrtDeviceEnablePeerAccess)
NOTHING(aclrtDeviceGetBareTgid)
NOTHING(aclrtGetFunctionAddr)
NOTHING(aclrtMemExportToShareableHandle)
NOTHING(aclrtMemImportFromShareableHandle)
NOTHING(aclrtMemSetPidToShareableHandle)
NOTHING(aclrtProcessReport)
NOTHING(aclrtResetDevice)
NOTHING(aclrtResetEvent)
NOTHING(aclrtSetCurrentContext)
NOTHING(aclrtSetDeviceSatMode)
NOTHING(aclrtSetOpExecuteTimeOut)
NOTHING(aclrtSetStreamOverflowSwitch)
NOTHING(aclrtSetSysParamOpt)
NOTHING(aclrtStreamWaitEvent)
NOTHING(aclrtSynchronizeDevice)
NOTHING(aclrtSynchronizeDeviceWithTimeout)
NOTHING(aclrtSynchronizeEvent)
NOTHING(aclrtSynchronizeStream)
NOTHING(aclrtSynchronizeStreamWithTimeout)
NOTHING(aclrtUnmapMem)
NOTHING(rtDevBinaryRegister)
NOTHING(rtFunctionRegister)
NOTHING(rtGetC2cCtrlAddr)
NOTHING(rtKernelLaunch)
