// An emulated libcuda: the entry points that cudarc calls, with kernels run by fibers.cpp.
//
// Device memory is the processor's, poisoned when it is given out and framed by guards; those of the
// calling thread are looked at after every launch: who writes beside a buffer is found at once and by
// name. Everything happens in the order of the calls, at once, but for what a graph captures: that happens when
// the graph is launched, with the parameters of its capture. What a device forbids while one is captured, such as
// to wait or to allocate, is an error here too, and so is a graph of memory that was given back meanwhile.
// `kun_emulator_*` functions let a test make calls fail.
#include <dlfcn.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "fibers.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace {

// CUresult.
enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_HANDLE = 400,
    ILLEGAL_STATE = 401,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
};

// CUdevice_attribute.
enum Attribute {
    MULTIPROCESSORS = 16,
    MAJOR = 75,
    MINOR = 76,
    SHARED_MOST = 97,
    MEMORY_POOLS = 115,
};

constexpr size_t GUARD = 64;
constexpr size_t ALIGNMENT = 256;
constexpr unsigned char GUARD_BYTE = 0xa5;
constexpr int POISON = 0xff;
constexpr size_t MEMORY = size_t(4) << 30;
constexpr unsigned SHARED_LIMIT = 227 << 10;
constexpr unsigned SHARED_WITHOUT_ASKING = 48 << 10;
constexpr unsigned MOST_THREADS = 1024;

struct Piece {
    char* start;
    size_t bytes;
    const void* owner;  // the thread that asked for it
    uint64_t number;    // never used again
};

struct Function {
    emulator::Kernel kernel;
    std::string name;
    std::vector<unsigned> sizes;  // of its parameters
    unsigned shared_limit;
};

// What a graph does: a launch, or a copy or a filling where there is no function.
struct Node {
    const Function* function;
    emulator::Size grid, block;
    unsigned shared;
    std::vector<std::vector<uint64_t>> parameters;
    // The memory that was there for addresses among the parameters.
    std::vector<std::pair<uint64_t, uint64_t>> uses;  // address, number of the piece
    uint64_t to, from;
    size_t bytes;
    int fill;  // -1: a copy
};

struct Graph {
    std::vector<Node> nodes;
    bool valid = true;
};

struct Module {
    void* library;
    std::map<std::string, Function> functions;
};

std::mutex lock;
std::map<uint64_t, Piece>& pieces() {
    static auto* all = new std::map<uint64_t, Piece>;
    return *all;
}
size_t used = 0;
uint64_t last_piece = 0;
std::set<uint64_t>& variables() {  // of modules, each a pointer
    static auto* all = new std::set<uint64_t>;
    return *all;
}
std::set<void*>& graphs() {  // captured ones and such that can be launched
    static auto* all = new std::set<void*>;
    return *all;
}

// Of the calling thread, so that tests can run side by side.
thread_local int allocations_left = -1, launches_left = -1;
thread_local unsigned long long seed = 0;
// `KUN_EMULATOR_CAPABILITY`, such as 90, is what devices are where nobody says.
int first_capability() {
    const char* const it = getenv("KUN_EMULATOR_CAPABILITY");
    return it ? atoi(it) : 80;
}
thread_local int capability = first_capability();
thread_local size_t own = 0, allocations = 0, graph_launches = 0;
thread_local bool broken = false;  // an error of a launch stays, as on a device
thread_local std::string last_failure;
thread_local Graph* capturing = nullptr;

bool intact(const Piece& it) {
    const char* const user = it.start + ALIGNMENT;
    for (size_t i = 0; i < GUARD; ++i) {
        const auto at = [](const char* p) { return static_cast<unsigned char>(*p); };
        if (at(user - 1 - i) != GUARD_BYTE || at(user + it.bytes + i) != GUARD_BYTE) return false;
    }
    return true;
}

// Whether this call is the one that a test wants to fail.
bool count_down(int& left) {
    if (left < 0) return false;
    return left-- == 0;
}

// What must not be done while a graph is captured, which is lost by it.
bool forbidden() {
    if (!capturing) return false;
    capturing->valid = false;
    return true;
}

// The number of the piece that an address lies in; 0 if in none. The lock is held.
uint64_t piece_of(uint64_t at) {
    auto it = pieces().upper_bound(at);
    if (it == pieces().begin()) return 0;
    --it;
    return at - it->first < it->second.bytes ? it->second.number : 0;
}

void note_use(Node& node, uint64_t word) {
    const uint64_t piece = piece_of(word);
    if (piece != 0) node.uses.push_back({word, piece});
}

// Kernels find the fibers' functions in this library, however it was loaded.
__attribute__((constructor)) void make_global() {
    Dl_info info;
    if (dladdr(reinterpret_cast<void*>(&make_global), &info))
        dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
}

}  // namespace

extern "C" {

// The n-th allocation from now fails, 0 being the next; -1 is none.
void kun_emulator_fail_allocation(int n) { allocations_left = n; }
// The same for launches; afterwards the device is broken until `kun_emulator_repair`.
void kun_emulator_fail_launch(int n) { launches_left = n; }
void kun_emulator_repair() { broken = false; }
// What decides the order of blocks and warps.
void kun_emulator_set_seed(unsigned long long it) { seed = it; }
// Such as 90; a device that is opened afterwards has it.
void kun_emulator_set_capability(int it) { capability = it; }
// Why the last launch failed.
const char* kun_emulator_failure() { return last_failure.c_str(); }
// How many graphs this thread has launched.
size_t kun_emulator_graphs() { return graph_launches; }
// How many bytes this thread has allocated. It frees them itself.
size_t kun_emulator_used() { return own; }
// How often this thread has allocated.
size_t kun_emulator_allocations() { return allocations; }

int cuInit(unsigned) { return SUCCESS; }
int cuDriverGetVersion(int* version) { *version = 13000; return SUCCESS; }
int cuGetErrorName(int, const char** name) { *name = "EMULATED"; return SUCCESS; }
int cuGetErrorString(int, const char** text) { *text = "emulated"; return SUCCESS; }

int cuDeviceGetCount(int* count) { *count = 1; return SUCCESS; }
int cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal == 0 ? SUCCESS : INVALID_DEVICE;
}
int cuDeviceGetName(char* name, int size, int) { snprintf(name, size_t(size), "emulated"); return SUCCESS; }
int cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = MEMORY; return SUCCESS; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    const std::map<int, int> known = {
        {MULTIPROCESSORS, 4}, {MAJOR, capability / 10}, {MINOR, capability % 10}, {SHARED_MOST, int(SHARED_LIMIT)}, {MEMORY_POOLS, 1}};
    const auto it = known.find(attribute);
    *value = it == known.end() ? 0 : it->second;
    return SUCCESS;
}

int cuDevicePrimaryCtxRetain(void** context, int) { *context = reinterpret_cast<void*>(1); return SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxSetCurrent(void*) { return SUCCESS; }
int cuCtxGetCurrent(void** context) { *context = reinterpret_cast<void*>(1); return SUCCESS; }
int cuCtxSynchronize() {
    if (forbidden()) return CAPTURE_UNSUPPORTED;
    return broken ? LAUNCH_FAILED : SUCCESS;
}
int cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
    *total = MEMORY;
    const std::lock_guard<std::mutex> held(lock);
    *free_bytes = MEMORY - used;
    return SUCCESS;
}

int cuMemAllocAsync(uint64_t* at, size_t bytes, void*) {
    if (forbidden()) return CAPTURE_UNSUPPORTED;
    if (count_down(allocations_left)) return OUT_OF_MEMORY;
    const std::lock_guard<std::mutex> held(lock);
    if (bytes > MEMORY - used) return OUT_OF_MEMORY;
    void* start = nullptr;
    if (posix_memalign(&start, ALIGNMENT, ALIGNMENT + bytes + GUARD) != 0) return OUT_OF_MEMORY;
    const Piece piece = {static_cast<char*>(start), bytes, &own, ++last_piece};
    own += bytes;
    allocations += 1;
    char* const user = piece.start + ALIGNMENT;
    memset(user - GUARD, GUARD_BYTE, GUARD);
    memset(user, POISON, bytes);
    memset(user + bytes, GUARD_BYTE, GUARD);
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(user - GUARD, GUARD);
    __asan_poison_memory_region(user + bytes, GUARD);
#endif
    *at = reinterpret_cast<uint64_t>(user);
    pieces()[*at] = piece;
    used += bytes;
    return SUCCESS;
}
int cuMemFreeAsync(uint64_t at, void*) {
    if (forbidden()) return CAPTURE_UNSUPPORTED;
    const std::lock_guard<std::mutex> held(lock);
    const auto it = pieces().find(at);
    if (it == pieces().end()) return INVALID_VALUE;
    used -= it->second.bytes;
    own -= it->second.bytes;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(it->second.start, ALIGNMENT + it->second.bytes + GUARD);
#endif
    free(it->second.start);
    pieces().erase(it);
    return SUCCESS;
}
// Memory of the host that kernels may write to: all of it is, here.
int cuMemHostAlloc(void** at, size_t bytes, unsigned) {
    *at = malloc(bytes);
    return *at ? SUCCESS : OUT_OF_MEMORY;
}
int cuMemFreeHost(void* at) {
    free(at);
    return SUCCESS;
}
int cuMemAlloc_v2(uint64_t* at, size_t bytes) { return cuMemAllocAsync(at, bytes, nullptr); }
int cuMemFree_v2(uint64_t at) { return cuMemFreeAsync(at, nullptr); }

// That a range lies in one buffer, or is a variable of a module.
static bool inside(uint64_t at, size_t bytes) {
    const std::lock_guard<std::mutex> held(lock);
    if (variables().count(at) && bytes <= sizeof(void*)) return true;
    auto it = pieces().upper_bound(at);
    if (it == pieces().begin()) return false;
    --it;
    return at - it->first <= it->second.bytes && bytes <= it->second.bytes - (at - it->first);
}
static int record_memory(uint64_t to, uint64_t from, size_t bytes, int fill) {
    Node node = {nullptr, {}, {}, 0, {}, {}, to, from, bytes, fill};
    const std::lock_guard<std::mutex> held(lock);
    note_use(node, to);
    note_use(node, from);
    capturing->nodes.push_back(node);
    return SUCCESS;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void*) {
    // A graph would copy from, or to, wherever this memory of the caller's lies when it is launched.
    if (forbidden()) return CAPTURE_UNSUPPORTED;
    if (broken) return LAUNCH_FAILED;
    if (!inside(to, bytes)) return INVALID_VALUE;
    memcpy(reinterpret_cast<void*>(to), from, bytes);
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void*) {
    // A graph would copy from, or to, wherever this memory of the caller's lies when it is launched.
    if (forbidden()) return CAPTURE_UNSUPPORTED;
    if (broken) return LAUNCH_FAILED;
    if (!inside(from, bytes)) return INVALID_VALUE;
    memcpy(to, reinterpret_cast<void*>(from), bytes);
    return SUCCESS;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void*) {
    if (broken) return LAUNCH_FAILED;
    if (!inside(from, bytes) || !inside(to, bytes)) return INVALID_VALUE;
    if (capturing) return record_memory(to, from, bytes, -1);
    memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
    return SUCCESS;
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void*) {
    if (broken) return LAUNCH_FAILED;
    if (!inside(to, bytes)) return INVALID_VALUE;
    if (capturing) return record_memory(to, 0, bytes, value);
    memset(reinterpret_cast<void*>(to), value, bytes);
    return SUCCESS;
}

int cuStreamCreate(void** stream, unsigned) { *stream = reinterpret_cast<void*>(2); return SUCCESS; }
int cuStreamDestroy_v2(void*) { return SUCCESS; }
int cuStreamSynchronize(void*) { return cuCtxSynchronize(); }
int cuStreamWaitEvent(void*, void*, unsigned) { return SUCCESS; }
// An event is the host's clock when it is recorded: everything before it is done by then.
int cuEventCreate(void** event, unsigned) { *event = new timespec(); return SUCCESS; }
int cuEventDestroy_v2(void* event) {
    delete static_cast<timespec*>(event);
    return SUCCESS;
}
int cuEventRecord(void* event, void*) {
    if (forbidden()) return CAPTURE_UNSUPPORTED;
    clock_gettime(CLOCK_MONOTONIC, static_cast<timespec*>(event));
    return SUCCESS;
}
int cuEventElapsedTime_v2(float* milliseconds, void* start, void* end) {
    const timespec &a = *static_cast<timespec*>(start), &b = *static_cast<timespec*>(end);
    *milliseconds = float(double(b.tv_sec - a.tv_sec) * 1e3 + double(b.tv_nsec - a.tv_nsec) / 1e6);
    return broken ? LAUNCH_FAILED : SUCCESS;
}
int cuEventSynchronize(void*) { return SUCCESS; }
int cuEventQuery(void*) { return SUCCESS; }

// The image is a shared library that compiler.cpp made. Its size is in its own header: the section
// table is the last thing in it.
static size_t image_bytes(const unsigned char* image) {
    if (memcmp(image, "\177ELF", 4) != 0) return 0;
    uint64_t sections;
    uint16_t size, count;
    memcpy(&sections, image + 40, 8);
    memcpy(&size, image + 58, 2);
    memcpy(&count, image + 60, 2);
    return size_t(sections) + size_t(size) * count;
}
int cuModuleLoadData(void** module, const void* image) {
    if (forbidden()) return CAPTURE_UNSUPPORTED;
    const size_t bytes = image_bytes(static_cast<const unsigned char*>(image));
    if (bytes == 0) return INVALID_IMAGE;
    const int file = memfd_create("kernel", MFD_CLOEXEC);
    if (file < 0 || write(file, image, bytes) != ssize_t(bytes)) return INVALID_IMAGE;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fprintf(stderr, "emulator: %s\n", dlerror());
    // The file stays open: a later one with its number would have the same path, and dlopen would
    // take it for this one.
    if (!library) return INVALID_IMAGE;
    *module = new Module{library, {}};
    return SUCCESS;
}
int cuModuleUnload(void* module) {
    delete static_cast<Module*>(module);
    return SUCCESS;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
    auto* it = static_cast<Module*>(module);
    const std::string symbol = std::string("emulator_launch_") + name;
    void* kernel = dlsym(it->library, symbol.c_str());
    if (!kernel) return NOT_FOUND;
    typedef unsigned (*Sizes)(unsigned*, unsigned);
    const auto sizes = reinterpret_cast<Sizes>(dlsym(it->library, (std::string("emulator_sizes_") + name).c_str()));
    if (!sizes) return NOT_FOUND;
    Function made = {reinterpret_cast<emulator::Kernel>(kernel), name, std::vector<unsigned>(sizes(nullptr, 0)),
                     SHARED_WITHOUT_ASKING};
    sizes(made.sizes.data(), unsigned(made.sizes.size()));
    *function = &it->functions.try_emplace(name, made).first->second;
    return SUCCESS;
}
// A variable of a module is a piece of memory to whom copies go.
int cuModuleGetGlobal_v2(uint64_t* at, size_t* bytes, void* module, const char* name) {
    void* const variable = dlsym(static_cast<Module*>(module)->library, name);
    if (!variable) return NOT_FOUND;
    *bytes = sizeof(void*);
    *at = reinterpret_cast<uint64_t>(variable);
    const std::lock_guard<std::mutex> held(lock);
    variables().insert(*at);
    return SUCCESS;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
    constexpr int DYNAMIC_SHARED_MOST = 8;
    if (attribute != DYNAMIC_SHARED_MOST) return SUCCESS;
    if (value < 0 || unsigned(value) > SHARED_LIMIT) return INVALID_VALUE;
    static_cast<Function*>(function)->shared_limit = unsigned(value);
    return SUCCESS;
}

// The first two dimensions of what hopper.cuh calls `Map`: bf16, 128 bytes a line.
int cuTensorMapEncodeTiled(void* map, int type, unsigned rank, void* from, const uint64_t* sizes,
                           const uint64_t* strides, const unsigned* box, const unsigned* steps,
                           int interleave, int swizzle, int, int fill) {
    constexpr int BF16 = 9, SWIZZLE_128 = 3;
    const bool known = type == BF16 && rank == 2 && interleave == 0 && swizzle == SWIZZLE_128 && fill == 0;
    const bool fits = uint64_t(from) % 16 == 0 && strides[0] % 16 == 0 && strides[0] < uint64_t(1) << 40 &&
                      box[0] * 2 <= 128 && box[0] > 0 && box[1] > 0 && box[1] <= 256 && sizes[0] > 0 &&
                      sizes[1] > 0 && sizes[0] <= uint64_t(1) << 32 && sizes[1] <= uint64_t(1) << 32;
    if (!known || !fits || steps[0] != 1 || steps[1] != 1) return INVALID_VALUE;
    const struct {
        void* from;
        uint64_t width, height, stride;
        unsigned box_width, box_height;
    } it = {from, sizes[0], sizes[1], strides[0], box[0], box[1]};
    memset(map, 0, 128);
    memcpy(map, &it, sizeof it);
    return SUCCESS;
}

// Runs a kernel, and looks at the guards of this thread's buffers.
static int run_now(const Function& it, emulator::Size grid, emulator::Size block, unsigned shared, void** parameters) {
    if (broken) return LAUNCH_FAILED;
    if (count_down(launches_left)) {
        broken = true;
        last_failure = "asked for";
        return LAUNCH_FAILED;
    }
    const char* why = emulator::run({it.kernel, parameters, grid, block, shared, seed});
    if (why) last_failure = "`" + it.name + "`: " + why;
    const std::lock_guard<std::mutex> held(lock);
    for (const auto& [at, piece] : pieces()) {
#if !defined(__SANITIZE_ADDRESS__)
        if (why || piece.owner != &own || intact(piece)) continue;
        last_failure = "`" + it.name + "`: wrote beside a buffer of " + std::to_string(piece.bytes) + " bytes";
        why = last_failure.c_str();
#else
        (void)at, (void)piece, (void)intact;
#endif
    }
    if (!why) return SUCCESS;
    fprintf(stderr, "emulator: %s\n", last_failure.c_str());
    broken = true;
    return LAUNCH_FAILED;
}

static int record_launch(const Function& it, emulator::Size grid, emulator::Size block, unsigned shared, void** parameters) {
    Node node = {&it, grid, block, shared, {}, {}, 0, 0, 0, -1};
    const std::lock_guard<std::mutex> held(lock);
    for (size_t i = 0; i < it.sizes.size(); ++i) {
        std::vector<uint64_t> words((it.sizes[i] + 7) / 8);
        memcpy(words.data(), parameters[i], it.sizes[i]);
        for (const uint64_t word : words) note_use(node, word);
        node.parameters.push_back(words);
    }
    capturing->nodes.push_back(node);
    return SUCCESS;
}

int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared, void*, void** parameters, void**) {
    const auto& it = *static_cast<Function*>(function);
    const uint64_t threads = uint64_t(block_x) * block_y * block_z;
    const bool empty = grid_x == 0 || grid_y == 0 || grid_z == 0 || threads == 0;
    if (empty || grid_y > 65535 || grid_z > 65535 || threads > MOST_THREADS || shared > it.shared_limit)
        return INVALID_VALUE;
    const emulator::Size grid = {grid_x, grid_y, grid_z}, block = {block_x, block_y, block_z};
    return capturing ? record_launch(it, grid, block, shared, parameters) : run_now(it, grid, block, shared, parameters);
}

int cuStreamBeginCapture_v2(void*, int) {
    if (capturing) return ILLEGAL_STATE;
    capturing = new Graph;
    return SUCCESS;
}
int cuStreamIsCapturing(void*, int* status) {
    *status = !capturing ? 0 : capturing->valid ? 1 : 2;
    return SUCCESS;
}
int cuStreamEndCapture(void*, void** graph) {
    *graph = nullptr;
    if (!capturing) return ILLEGAL_STATE;
    Graph* const made = std::exchange(capturing, nullptr);
    if (!made->valid) {
        delete made;
        return CAPTURE_INVALIDATED;
    }
    const std::lock_guard<std::mutex> held(lock);
    graphs().insert(made);
    *graph = made;
    return SUCCESS;
}
int cuGraphInstantiateWithFlags(void** runnable, void* graph, unsigned long long) {
    if (forbidden()) return CAPTURE_UNSUPPORTED;
    const std::lock_guard<std::mutex> held(lock);
    if (graphs().count(graph) == 0) return INVALID_HANDLE;
    *runnable = new Graph(*static_cast<Graph*>(graph));
    graphs().insert(*runnable);
    return SUCCESS;
}
int cuGraphDestroy(void* graph) {
    const std::lock_guard<std::mutex> held(lock);
    if (graphs().erase(graph) == 0) return INVALID_HANDLE;
    delete static_cast<Graph*>(graph);
    return SUCCESS;
}
int cuGraphExecDestroy(void* runnable) { return cuGraphDestroy(runnable); }
int cuGraphUpload(void*, void*) { return SUCCESS; }

// Whether what a node uses is still there.
static bool is_there(const Node& node) {
    const std::lock_guard<std::mutex> held(lock);
    for (const auto& [at, number] : node.uses)
        if (piece_of(at) != number) return false;
    return true;
}
int cuGraphLaunch(void* runnable, void*) {
    if (forbidden()) return CAPTURE_UNSUPPORTED;
    {
        const std::lock_guard<std::mutex> held(lock);
        if (graphs().count(runnable) == 0) return INVALID_HANDLE;
    }
    graph_launches += 1;
    for (Node& node : static_cast<Graph*>(runnable)->nodes) {
        if (broken) return LAUNCH_FAILED;
        if (!is_there(node)) {
            last_failure = "a graph uses memory that was given back";
            broken = true;
            return LAUNCH_FAILED;
        }
        if (node.function) {
            std::vector<void*> parameters;
            for (auto& words : node.parameters) parameters.push_back(words.data());
            const int result = run_now(*node.function, node.grid, node.block, node.shared, parameters.data());
            if (result != SUCCESS) return result;
        } else if (node.fill < 0) {
            memmove(reinterpret_cast<void*>(node.to), reinterpret_cast<void*>(node.from), node.bytes);
        } else {
            memset(reinterpret_cast<void*>(node.to), node.fill, node.bytes);
        }
    }
    return SUCCESS;
}

}  // extern "C"
