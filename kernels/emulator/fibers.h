// Blocks of fibers: one fiber for each CUDA thread, all of a block on one thread of the system.
#pragma once

#include <cstddef>

namespace emulator {

// Calls a kernel with the parameters that a launch has.
typedef void (*Kernel)(void** parameters);

struct Size { unsigned x, y, z; };

struct Launch {
    Kernel kernel;
    void** parameters;
    Size grid, block;
    size_t shared_bytes;
    unsigned long long seed;  // the order of blocks and warps; odd: copies are made at once
};

// Runs it to its end. Null, or why it failed; then the text is valid until the next launch.
const char* run(const Launch& launch);

}  // namespace emulator
