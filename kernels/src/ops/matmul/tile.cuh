// What both ways of making products of bf16 by tensor cores share: how operands lie, and which tile a block makes.
#pragma once

#include "number.cuh"

constexpr u32 GROUP = 8;                                     // rows of tiles that are near in time
constexpr u32 WRITTEN = FUSED == 2 ? COLUMNS / 2 : COLUMNS;  // columns of a tile of the result
constexpr bool A_TRANSPOSED = FORM == 2, B_TRANSPOSED = FORM != 0;   // the summed index is not the contiguous one

struct Tile { size_t row, column; };

// The tile of a block, of HEIGHT rows: columns of tiles one after another within groups of rows of tiles, so that
// what is worked on at the same time shares operands.
template <u32 HEIGHT>
__device__ __forceinline__ Tile tile_of(size_t rows, size_t columns) {
    const size_t n_rows = (rows + HEIGHT - 1) / HEIGHT, n_columns = (columns + WRITTEN - 1) / WRITTEN;
    const size_t group = blockIdx.x / (GROUP * n_columns), in_group = blockIdx.x % (GROUP * n_columns);
    const size_t left = n_rows - group * GROUP, height = left < GROUP ? left : GROUP;
    return {(group * GROUP + in_group % height) * HEIGHT, in_group / height * WRITTEN};
}
