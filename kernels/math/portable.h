// Marks formulas that host and device code share. They are always inlined, so that files compiled for different
// instruction sets never share a copy.
#pragma once

#ifdef __CUDACC__
#define GALLEON_FORMULA __host__ __device__ __forceinline__
#else
#define GALLEON_FORMULA inline __attribute__((always_inline))
#endif
