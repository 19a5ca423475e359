// Runs a kernel on a processor: one block after the other, its threads as fibers in turn. Knows no kernel: each source
// registers its own by name.
#include "prelude.cuh"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulated {

thread_local Fiber* current;
thread_local Index block_index, block_size, grid_size;

namespace {

const size_t STACK = 128 << 10;

// A thread's place in its code. On x86-64 the registers that a call keeps are pushed on its stack; the library's own switch
// asks the system for the signal mask each time, which is most of a test's time.
#ifdef __x86_64__
typedef void* Context;
extern "C" void emulated_switch(Context* from, Context to);
asm(R"(
emulated_switch:
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
)");
void switch_context(Context& from, Context& to) { emulated_switch(&from, to); }
void start_context(Context& context, char* stack, size_t bytes, void (*entry)(), Context&) {
    void** top = (void**)((size_t)(stack + bytes) / 16 * 16);
    // The stack of a function that was just called, with nothing to return to.
    *--top = nullptr;
    *--top = (void*)entry;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    context = top;
}
#else
typedef ucontext_t Context;
void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }
void start_context(Context& context, char* stack, size_t bytes, void (*entry)(), Context& scheduler) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = bytes;
    context.uc_link = &scheduler;
    makecontext(&context, entry, 0);
}
#endif

struct Barrier {
    int arrived = 0;
    u64 generation = 0;
};

struct Entry {
    std::string name;
    void (*invoke)(const void* const*);
};

// Everything of the block that is running.
struct Block {
    std::vector<Fiber> fibers;
    std::vector<Context> contexts;
    std::vector<std::unique_ptr<char[]>> stacks;
    Context scheduler;
    std::vector<Exchange> exchanges;
    std::vector<Barrier> warps;
    Barrier named[16];
    std::vector<char> shared;
    u64 moved = 0;
    const Entry* entry;
    const void* const* arguments;
};

thread_local Block block;

std::vector<Entry>& registry() {
    static std::vector<Entry> entries;
    return entries;
}

void run() {
    block.entry->invoke(block.arguments);
    current->done = true;
    progress();
    switch_context(*(Context*)current->context, block.scheduler);
}

void arrive(Barrier& barrier, int threads, bool wait) {
    u64 generation = barrier.generation;
    progress();
    if (++barrier.arrived == threads) {
        barrier.arrived = 0;
        barrier.generation++;
    }
    while (wait && barrier.generation == generation) yield();
}

void run_block() {
    size_t threads = block.fibers.size();
    for (size_t i = 0; i < threads; i++) {
        Fiber& fiber = block.fibers[i];
        unsigned x = (unsigned)i % block_size.x, rest = (unsigned)i / block_size.x;
        fiber = Fiber{{x, rest % block_size.y, rest / block_size.y}, (int)i / 32, (int)i % 32, false, {}, 0, &block.contexts[i]};
        start_context(block.contexts[i], block.stacks[i].get(), STACK, run, block.scheduler);
    }
    for (Barrier& barrier : block.named) barrier = Barrier();
    for (Barrier& barrier : block.warps) barrier = Barrier();
    // Not zeros: what is read without having been written must show.
    memset(block.shared.data(), 0xff, block.shared.size());
    size_t done = 0;
    while (done < threads) {
        u64 before = block.moved;
        done = 0;
        for (size_t i = 0; i < threads; i++) {
            if (block.fibers[i].done) {
                done++;
                continue;
            }
            current = &block.fibers[i];
            switch_context(block.scheduler, block.contexts[i]);
        }
        if (done < threads && block.moved == before) fail("every thread waits for another");
    }
}

}  // namespace

char* dynamic_shared() { return (char*)(((size_t)block.shared.data() + 1023) / 1024 * 1024); }
void yield() { switch_context(*(Context*)current->context, block.scheduler); }
void progress() { block.moved++; }
void barrier(int id, int threads, bool wait) { arrive(block.named[id], threads, wait); }
void warp_barrier() { arrive(block.warps[current->warp], 32, true); }
Exchange& exchange() { return block.exchanges[current->warp]; }

void fail(const char* why) {
    fprintf(stderr, "kernel %s, block %u %u, thread %u: %s\n", block.entry->name.c_str(), block_index.x, block_index.y,
            current ? current->thread.x : 0, why);
    abort();
}

Registration::Registration(const char* name, void (*invoke)(const void* const*)) { registry().push_back({name, invoke}); }

}  // namespace emulated

extern "C" int emulator_launch(const char* name, const unsigned* blocks, unsigned threads, unsigned shared,
                               const void* const* arguments) {
    using namespace emulated;
    const Entry* entry = nullptr;
    for (const Entry& known : registry()) {
        if (known.name == name) entry = &known;
    }
    if (!entry) return 1;
    if (threads % 32 || threads == 0 || threads > 1024) return 2;
    block.entry = entry;
    block.arguments = arguments;
    block.fibers.resize(threads);
    block.contexts.resize(threads);
    while (block.stacks.size() < threads) block.stacks.emplace_back(new char[STACK]);
    block.exchanges.resize(threads / 32);
    block.warps.resize(threads / 32);
    block.shared.assign(shared + 2048, 0);
    block_size = {threads, 1, 1};
    grid_size = {blocks[0], blocks[1], blocks[2]};
    for (unsigned z = 0; z < blocks[2]; z++) {
        for (unsigned y = 0; y < blocks[1]; y++) {
            for (unsigned x = 0; x < blocks[0]; x++) {
                block_index = {x, y, z};
                run_block();
            }
        }
    }
    return 0;
}
