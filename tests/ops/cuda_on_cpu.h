// Just enough of CUDA to run the kernels of cuda_ext on the CPU, thread by thread: test_cuda_ext_on_cpu.py.
#pragma once

#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
inline thread_local dim3 blockIdx, threadIdx, blockDim, gridDim;

typedef void* cudaStream_t;
typedef int cudaError_t;
enum { cudaSuccess = 0, cudaMemcpyDeviceToHost = 2 };
inline int cudaGetLastError() { return 0; }
inline const char* cudaGetErrorString(int) { return ""; }
inline int cudaStreamSynchronize(cudaStream_t) { return 0; }
inline int cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t) {
  std::memset(target, value, bytes);
  return 0;
}
inline int cudaMemcpyAsync(void* target, const void* source, size_t bytes, int, cudaStream_t) {
  std::memcpy(target, source, bytes);
  return 0;
}

struct __half {
  _Float16 value;
  __half() = default;
  explicit __half(float v) : value(_Float16(v)) {}
};
inline float __half2float(__half h) { return float(h.value); }
inline __half __float2half(float v) { return __half(v); }
inline __half operator+(__half a, __half b) { return __half(__half2float(a) + __half2float(b)); }

inline std::mutex atomics;
template <typename T, typename F>
T change(T* target, const F& next) {
  const std::lock_guard<std::mutex> lock(atomics);
  const T before = *target;
  *target = next(before);
  return before;
}
template <typename T, typename V>
T atomicAdd(T* target, V term) { return change(target, [&](T was) { return was + T(term); }); }
template <typename T>
T atomicMin(T* target, T value) { return change(target, [&](T was) { return value < was ? value : was; }); }
template <typename T>
T atomicMax(T* target, T value) { return change(target, [&](T was) { return value > was ? value : was; }); }
inline int atomicOr(int* target, int bits) { return change(target, [&](int was) { return was | bits; }); }

template <typename To, typename From>
To same_bits(From from) {
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}
inline uint32_t __float_as_uint(float v) { return same_bits<uint32_t>(v); }
inline long long __double_as_longlong(double v) { return same_bits<long long>(v); }
inline double __longlong_as_double(long long v) { return same_bits<double>(v); }
inline long long __double2ll_rn(double v) { return std::llrint(v); }
using std::isfinite;

struct Barrier {
  std::mutex mutex;
  std::condition_variable passed;
  int size = 0, waiting = 0, round = 0;
  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    const int mine = round;
    if (++waiting == size) {
      waiting = 0;
      ++round;
      passed.notify_all();
    } else {
      passed.wait(lock, [&] { return round != mine; });
    }
  }
};
inline Barrier barrier;
inline void __syncthreads() { barrier.wait(); }

// The order of blocks and threads can be turned round: a deterministic sum must not notice.
inline bool backwards = false;
extern "C" inline void __attribute__((used)) set_backwards(bool value) { backwards = value; }

// Two-dimensional blocks are those that wait for each other: they get real threads.
template <typename F>
void run_on_cpu(dim3 grid, dim3 block, const F& kernel) {
  const unsigned blocks = grid.x * grid.y * grid.z, threads = block.x * block.y;
  const auto one = [&](unsigned b, unsigned t) {
    gridDim = grid;
    blockDim = block;
    blockIdx = dim3(b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y);
    threadIdx = dim3(t % block.x, t / block.x, 0);
    kernel();
  };
  for (unsigned i = 0; i < blocks; ++i) {
    const unsigned b = backwards ? blocks - 1 - i : i;
    if (block.y > 1) {
      barrier.size = int(threads);
      std::vector<std::thread> running;
      for (unsigned t = 0; t < threads; ++t) running.emplace_back(one, b, t);
      for (auto& thread : running) thread.join();
    } else {
      for (unsigned t = 0; t < threads; ++t) one(b, backwards ? threads - 1 - t : t);
    }
  }
}
