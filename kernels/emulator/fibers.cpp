// Fibers and what they wait for. A thread runs until it must wait; then the next of its warp that can
// go on does, then the next warp. So a warp, or a warpgroup that makes products, runs as far ahead of the
// others as the kernel lets it, in an order of warps that the seed decides: what only a barrier would
// keep apart, collides. Asynchronous copies are made as late as they may be, and with an odd seed at once:
// the hardware may do either.
//
// A mistake of a kernel (a deadlock, threads of a warp at different places) ends the launch with an
// error, as on a device, and says which warp was where.
#include "fibers.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cuda.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

extern "C" {
#define EMULATOR_OWN __attribute__((tls_model("initial-exec"))) __thread
EMULATOR_OWN emulator::Thread* emulator_thread;
EMULATOR_OWN uint3 emulator_block_index;
EMULATOR_OWN uint3 emulator_block_size;
EMULATOR_OWN uint3 emulator_grid_size;
EMULATOR_OWN unsigned char* emulator_shared;
}

// ThreadSanitizer, which only the kernels are compiled for. Fibers are threads to it; that one goes on after
// another orders nothing, only barriers do.
#if defined(EMULATOR_THREADS)
extern "C" {
void __tsan_acquire(void*);
void __tsan_release(void*);
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void*);
void __tsan_switch_to_fiber(void*, unsigned);
}
#else
#define __tsan_acquire(what) ((void)(what))
#define __tsan_release(what) ((void)(what))
#endif

namespace emulator {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t STACK = 256 << 10;
#else
constexpr size_t STACK = 64 << 10;
#endif
constexpr unsigned WARP = 32;
constexpr unsigned BARRIERS = 16;
constexpr size_t SHARED_ALIGNMENT = 1024;
constexpr int POISON = 0xff;  // a NaN, whatever it is read as

struct Copy {
    void* to;
    const void* from;
    unsigned bytes, used;
    unsigned group;
};

struct Fiber : Thread {
    void* stack_pointer = nullptr;
    char* stack = nullptr;
    size_t stack_size = STACK;
    void* sanitizer = nullptr;
    void* tsan = nullptr;
    bool done = false;
    bool may_give_up = false, gave_up = false;  // at what it sleeps
    unsigned group = 0;  // of the copies that are made now
    unsigned product_group = 0;  // of the warpgroup's products that are made now
    std::vector<Copy> copies;
#if !defined(__x86_64__)
    ucontext_t context;
#endif
};

struct Warp {
    unsigned live, ready, arrived;
    const char* name;  // what those that arrived wait for
    void* operands[WARP];
};

constexpr unsigned GROUP = 128;  // threads of a warpgroup

struct Product {
    GroupOperation operation;
    GroupProduct all[GROUP];
    unsigned group;
};

// Products of a warpgroup: the one that its threads come to now, and those that are under way.
struct Warpgroup {
    unsigned arrived = 0;
    Product next;
    std::vector<Product> products;
};

// What is done when nothing else can go on.
struct Later {
    void (*action)(void*);
    std::vector<char> data;
};

struct Barrier {
    unsigned arrived = 0;
    std::vector<unsigned> waiting;  // lanes, by warp
};

uint64_t mix(uint64_t it) {
    it = (it ^ it >> 30) * 0xbf58476d1ce4e5b9u;
    it = (it ^ it >> 27) * 0x94d049bb133111ebu;
    return it ^ it >> 31;
}

template <class T>
void shuffle_order(std::vector<T>& items, uint64_t seed) {
    for (size_t i = items.size(); i > 1; --i) {
        seed = mix(seed + 0x9e3779b97f4a7c15u);
        std::swap(items[i - 1], items[seed % i]);
    }
}

#if defined(__x86_64__)
extern "C" void emulator_swap(void** save, void* to);
asm(R"(
.text
.globl emulator_swap
.type emulator_swap, @function
emulator_swap:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_swap, .-emulator_swap
)");
#endif

class Block {
  public:
    ~Block();
    const char* run(const Launch& launch);

    void collective(unsigned mask, void* mine, Operation operation, const char* name);
    void barrier(unsigned id, unsigned count);
    void sleep(const void* what);
    bool sleep_or_give_up(const void* what);
    void wake(const void* what);
    void later(void (*action)(void*), void* data, size_t bytes);
    void multiply(const GroupProduct& mine, GroupOperation operation);
    void end_products(unsigned groups_left);
    [[noreturn]] void fail(const char* why);
    [[noreturn]] void body();
    // Whether asynchronous copies are made at once and not at the wait for them.
    bool is_eager() const { return eager; }
    Fiber& current() { return *static_cast<Fiber*>(emulator_thread); }

  private:
    void prepare(const Launch& launch);
    void start(const Launch& launch, Size at, uint64_t seed);
    void reset(Fiber& fiber, unsigned number, Size size);
    void switch_to(Fiber& from, Fiber& to);
    Fiber* next(const Fiber& after);
    Fiber* ready(const Fiber& after);
    Fiber* impatient();
    void wait();
    void release(Barrier& barrier);
    void end_copies(Fiber& fiber);

    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Warp> warps;
    std::vector<unsigned> order;  // of the warps
    size_t turn = 0;              // which of them runs
    Barrier barriers[BARRIERS];
    std::vector<Warpgroup> groups;
    std::vector<std::pair<const void*, Fiber*>> sleepers;
    std::vector<Later> waiting_actions;
    unsigned live = 0;
    Fiber main;
    Kernel kernel = nullptr;
    void** parameters = nullptr;
    std::string failure;
    bool eager = false;
    uint64_t draw = 0;  // which of the waiting actions is done next
};

thread_local std::unique_ptr<Block> block;

void enter() { block->body(); }

Block::~Block() {
    for (const auto& it : fibers) {
#if defined(EMULATOR_THREADS)
        if (it->tsan) __tsan_destroy_fiber(it->tsan);  // it can count some thousands of threads
#endif
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(it->stack, STACK);  // what lies there next is no stack
#endif
        munmap(it->stack, STACK);
    }
}

void Block::prepare(const Launch& launch) {
    const unsigned n = launch.block.x * launch.block.y * launch.block.z;
    while (fibers.size() < n) {
        auto fiber = std::make_unique<Fiber>();
        void* stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED) abort();
        fiber->stack = static_cast<char*>(stack);
        fibers.push_back(std::move(fiber));
    }
    const unsigned n_warps = (n + WARP - 1) / WARP;
    warps.resize(n_warps);
    order.resize(n_warps);
    kernel = launch.kernel;
    parameters = launch.parameters;
    failure.clear();
    eager = launch.seed % 2 == 1;
}

void Block::reset(Fiber& fiber, unsigned number, Size size) {
    fiber.index = {number % size.x, number / size.x % size.y, number / (size.x * size.y)};
    fiber.lane = number % WARP;
    fiber.warp = number / WARP;
    fiber.done = fiber.may_give_up = fiber.gave_up = false;
    fiber.group = fiber.product_group = 0;
    fiber.copies.clear();
#if defined(EMULATOR_THREADS)
    if (!fiber.tsan) fiber.tsan = __tsan_create_fiber(0);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(fiber.stack, STACK);
    fiber.sanitizer = nullptr;
#endif
#if defined(__x86_64__)
    // As after a call: the address of `enter` below a dead return address, and six registers.
    void** top = reinterpret_cast<void**>(fiber.stack + STACK - 16);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&enter);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    fiber.stack_pointer = top;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
#endif
}

void Block::switch_to(Fiber& from, Fiber& to) {
    emulator_thread = &to;
#if defined(EMULATOR_THREADS)
    constexpr unsigned NO_ORDER = 1;
    __tsan_switch_to_fiber(to.tsan, NO_ORDER);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(from.done ? nullptr : &from.sanitizer, to.stack, to.stack_size);
#endif
#if defined(__x86_64__)
    emulator_swap(&from.stack_pointer, to.stack_pointer);
#else
    swapcontext(&from.context, &to.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from.sanitizer, nullptr, nullptr);
#endif
}

// Who goes on; what can be put off is done when nobody can.
Fiber* Block::next(const Fiber& after) {
    Fiber* to = ready(after);
    while (!to && !waiting_actions.empty()) {
        // In no order: that an earlier one is done says nothing of a later one, nor the other way.
        draw = mix(draw + 1);
        const auto one = waiting_actions.begin() + long(draw % waiting_actions.size());
        Later it = std::move(*one);
        waiting_actions.erase(one);
        it.action(it.data.data());
        to = ready(after);
    }
    return to ? to : impatient();
}

// Where all wait in vain: the first of those that do not wait for ever.
Fiber* Block::impatient() {
    for (size_t i = 0; i < sleepers.size(); ++i) {
        Fiber* const fiber = sleepers[i].second;
        if (!fiber->may_give_up) continue;
        fiber->gave_up = true;
        warps[fiber->warp].ready |= 1u << fiber->lane;
        sleepers.erase(sleepers.begin() + long(i));
        return fiber;
    }
    return nullptr;
}

Fiber* Block::ready(const Fiber& after) {
    const Warp& own = warps[after.warp];
    if (own.ready) {
        const unsigned later = after.lane == 31 ? 0 : own.ready >> (after.lane + 1) << (after.lane + 1);
        return fibers[after.warp * WARP + __builtin_ctz(later ? later : own.ready)].get();
    }
    // A warpgroup that has begun to come to a product runs ahead of the others as one warp does.
    const size_t first = after.warp / 4 * 4;
    if (groups[first / 4].arrived > 0)
        for (size_t i = first; i < std::min(first + 4, warps.size()); ++i)
            if (warps[i].ready) return fibers[i * WARP + __builtin_ctz(warps[i].ready)].get();
    for (size_t i = 1; i <= order.size(); ++i) {
        const size_t at = (turn + i) % order.size();
        const Warp& warp = warps[order[at]];
        if (warp.ready) {
            turn = at;
            return fibers[order[at] * WARP + __builtin_ctz(warp.ready)].get();
        }
    }
    return nullptr;
}

void Block::wait() {
    Fiber& fiber = current();
    warps[fiber.warp].ready &= ~(1u << fiber.lane);
    Fiber* to = next(fiber);
    if (!to) fail("deadlock: no thread can go on");
    switch_to(fiber, *to);
}

void Block::collective(unsigned mask, void* mine, Operation operation, const char* name) {
    Fiber& fiber = current();
    Warp& warp = warps[fiber.warp];
    const unsigned bit = 1u << fiber.lane;
    if (!(mask & bit)) fail("a thread is not in its own mask");
    if (mask & ~warp.live) fail("a warp function names threads that have ended");
    if (warp.arrived & mask && strcmp(warp.name, name) != 0)
        fail("threads of a warp wait at different warp functions");
    warp.name = name;
    warp.operands[fiber.lane] = mine;
    warp.arrived |= bit;
    // Of the warp's functions only this one orders memory.
    const bool orders = strcmp(name, "__syncwarp") == 0;
    if (orders) __tsan_release(&warp);
    if ((warp.arrived & mask) != mask) {
        wait();
    } else {
        operation(warp.operands, mask);
        warp.arrived &= ~mask;
        warp.ready |= mask;
    }
    if (orders) __tsan_acquire(&warp);
}

void Block::sleep(const void* what) {
    sleepers.emplace_back(what, &current());
    warps[current().warp].name = "a phase";
    wait();
}

bool Block::sleep_or_give_up(const void* what) {
    Fiber& fiber = current();
    fiber.may_give_up = true;
    sleep(what);
    fiber.may_give_up = false;
    return !fiber.gave_up;
}

void Block::wake(const void* what) {
    const auto is_it = [&](const std::pair<const void*, Fiber*>& it) {
        if (it.first == what) warps[it.second->warp].ready |= 1u << it.second->lane;
        return it.first == what;
    };
    sleepers.erase(std::remove_if(sleepers.begin(), sleepers.end(), is_it), sleepers.end());
}

void Block::later(void (*action)(void*), void* data, size_t bytes) {
    const char* const from = static_cast<const char*>(data);
    if (eager) action(data);
    else waiting_actions.push_back({action, std::vector<char>(from, from + bytes)});
}

void Block::multiply(const GroupProduct& mine, GroupOperation operation) {
    Fiber& fiber = current();
    Warpgroup& group = groups[fiber.warp / 4];
    if (group.arrived > 0 && group.next.operation != operation)
        fail("threads of a warpgroup wait at different products");
    group.next.operation = operation;
    group.next.group = fiber.product_group;
    group.next.all[fiber.warp % 4 * WARP + fiber.lane] = mine;
    group.arrived += 1;
    if (group.arrived < GROUP) {
        warps[fiber.warp].name = "a product of a warpgroup";
        return sleep(&group);
    }
    group.arrived = 0;
    if (eager) operation(group.next.all);
    else group.products.push_back(group.next);
    wake(&group);
}

void Block::end_products(unsigned groups_left) {
    const Fiber& fiber = current();
    auto& products = groups[fiber.warp / 4].products;
    size_t n = 0;
    for (; n < products.size() && products[n].group + groups_left < fiber.product_group; ++n)
        products[n].operation(products[n].all);
    products.erase(products.begin(), products.begin() + n);
}

void Block::release(Barrier& barrier) {
    for (size_t i = 0; i < warps.size(); ++i) {
        warps[i].ready |= barrier.waiting[i];
        barrier.waiting[i] = 0;
    }
    barrier.arrived = 0;
}

void Block::barrier(unsigned id, unsigned count) {
    if (id >= BARRIERS) fail("there is no such barrier");
    Fiber& fiber = current();
    Barrier& barrier = barriers[id];
    warps[fiber.warp].name = "a barrier";
    barrier.arrived += 1;
    __tsan_release(&barrier);
    if (barrier.arrived >= (count ? count : live)) {
        release(barrier);
    } else {
        barrier.waiting[fiber.warp] |= 1u << fiber.lane;
        wait();
    }
    __tsan_acquire(&barrier);
}

void Block::fail(const char* why) {
    const uint3 at = emulator_block_index;
    char line[160];
    snprintf(line, sizeof line, "%s, in block (%u, %u, %u)", why, at.x, at.y, at.z);
    failure = line;
    for (size_t i = 0; i < warps.size() && i < 8; ++i) {
        const Warp& it = warps[i];
        snprintf(line, sizeof line, "; warp %zu: live %08x, can go on %08x, arrived %08x at %s", i,
                 it.live, it.ready, it.arrived, it.name ? it.name : "nothing");
        failure += line;
    }
    Fiber& fiber = current();
    fiber.done = true;
    switch_to(fiber, main);
    abort();  // nobody comes back to a fiber that is done
}

void make(const Copy& it) {
    memcpy(it.to, it.from, it.used);
    memset(static_cast<char*>(it.to) + it.used, 0, it.bytes - it.used);
}

void Block::end_copies(Fiber& fiber) {
    // A thread may end with copies under way; the hardware makes them all the same.
    for (const Copy& it : fiber.copies) make(it);
    fiber.copies.clear();
}

void Block::body() {
#if defined(__SANITIZE_ADDRESS__)
    const void* bottom = nullptr;
    size_t size = 0;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    if (!main.stack) {  // the first fiber of all: it comes from the system's own stack
        main.stack = static_cast<char*>(const_cast<void*>(bottom));
        main.stack_size = size;
    }
#endif
    // What the host did is before the launch, and what is done here before its end.
    __tsan_acquire(this);
    kernel(parameters);
    Fiber& fiber = current();
    end_copies(fiber);
    __tsan_release(&main);
    Warp& warp = warps[fiber.warp];
    const unsigned bit = 1u << fiber.lane;
    warp.live &= ~bit;
    warp.ready &= ~bit;
    live -= 1;
    fiber.done = true;
    // Threads that have ended do not hold up the barrier of the block.
    if (live > 0 && barriers[0].arrived >= live) release(barriers[0]);
    if (live == 0 && !waiting_actions.empty()) fail("the last thread ends while a copy is under way");
    Fiber* to = live == 0 ? &main : next(fiber);
    if (!to) fail("deadlock: no thread can go on after one has ended");
    switch_to(fiber, *to);
    abort();  // nobody comes back to a fiber that is done
}

void Block::start(const Launch& launch, Size at, uint64_t seed) {
    const unsigned n = launch.block.x * launch.block.y * launch.block.z;
    emulator_block_index = {at.x, at.y, at.z};
    if (launch.shared_bytes > 0) memset(emulator_shared, POISON, launch.shared_bytes);
    live = n;
    turn = 0;
    draw = seed;
    for (size_t i = 0; i < warps.size(); ++i) {
        const unsigned in_warp = std::min<unsigned>(WARP, n - unsigned(i) * WARP);
        const unsigned mask = in_warp == WARP ? ~0u : (1u << in_warp) - 1;
        warps[i] = {mask, mask, 0, nullptr, {}};
        order[i] = unsigned(i);
    }
    shuffle_order(order, seed);
    for (Barrier& it : barriers) {
        it.arrived = 0;
        it.waiting.assign(warps.size(), 0);
    }
    groups.assign((warps.size() + 3) / 4, Warpgroup());
    sleepers.clear();
    waiting_actions.clear();
    for (unsigned i = 0; i < n; ++i) reset(*fibers[i], i, launch.block);
#if defined(EMULATOR_THREADS)
    main.tsan = __tsan_get_current_fiber();
#endif
    __tsan_release(this);
    switch_to(main, *fibers[order[0] * WARP]);
    __tsan_acquire(&main);
}

const char* Block::run(const Launch& launch) {
    prepare(launch);
    emulator_block_size = {launch.block.x, launch.block.y, launch.block.z};
    emulator_grid_size = {launch.grid.x, launch.grid.y, launch.grid.z};
    // Of the exact size, so that a sanitizer sees what lies beyond it.
    void* shared = nullptr;
    if (launch.shared_bytes > 0 && posix_memalign(&shared, SHARED_ALIGNMENT, launch.shared_bytes) != 0)
        return "no shared memory";
    emulator_shared = static_cast<unsigned char*>(shared);
    std::vector<uint64_t> places(size_t(launch.grid.x) * launch.grid.y * launch.grid.z);
    for (size_t i = 0; i < places.size(); ++i) places[i] = i;
    shuffle_order(places, launch.seed);
    for (uint64_t it : places) {
        const uint64_t x = launch.grid.x, y = launch.grid.y;
        start(launch, {unsigned(it % x), unsigned(it / x % y), unsigned(it / (x * y))}, mix(launch.seed ^ it));
        if (!failure.empty()) break;
    }
    free(shared);
    emulator_shared = nullptr;
    return failure.empty() ? nullptr : failure.c_str();
}

}  // namespace

const char* run(const Launch& launch) {
    if (!block) block = std::make_unique<Block>();
    return block->run(launch);
}

}  // namespace emulator

extern "C" {

void emulator_collective(unsigned mask, void* mine, emulator::Operation operation, const char* name) {
    emulator::block->collective(mask, mine, operation, name);
}

void emulator_barrier(unsigned id, unsigned count) { emulator::block->barrier(id, count); }

void emulator_fail(const char* why) { emulator::block->fail(why); }

void emulator_copy_async(void* to, const void* from, unsigned bytes, unsigned used) {
    if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % bytes != 0)
        emulator_fail("cp.async of an address that is not aligned");
    emulator::Fiber& fiber = emulator::block->current();
    const emulator::Copy copy = {to, from, bytes, used, fiber.group};
    if (emulator::block->is_eager()) emulator::make(copy);
    else fiber.copies.push_back(copy);
}

void emulator_release(void* what) { __tsan_release(what); }
void emulator_acquire(void* what) { __tsan_acquire(what); }
void emulator_sleep(const void* what) { emulator::block->sleep(what); }
bool emulator_sleep_or_give_up(const void* what) { return emulator::block->sleep_or_give_up(what); }
void emulator_wake(const void* what) { emulator::block->wake(what); }
void emulator_later(void (*action)(void*), void* data, size_t bytes) {
    emulator::block->later(action, data, bytes);
}
void emulator_group_multiply(emulator::GroupProduct mine, emulator::GroupOperation operation) {
    emulator::block->multiply(mine, operation);
}
void emulator_group_commit() { emulator::block->current().product_group += 1; }
void emulator_group_wait(unsigned groups_left) { emulator::block->end_products(groups_left); }

void emulator_copy_commit() { emulator::block->current().group += 1; }

void emulator_copy_wait(unsigned groups_left) {
    emulator::Fiber& fiber = emulator::block->current();
    size_t n = 0;
    for (; n < fiber.copies.size() && fiber.copies[n].group + groups_left < fiber.group; ++n)
        emulator::make(fiber.copies[n]);
    fiber.copies.erase(fiber.copies.begin(), fiber.copies.begin() + n);
}

}  // extern "C"
