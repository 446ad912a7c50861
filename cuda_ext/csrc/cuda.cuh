// What the CUDA ops share: tensor accessors, launches, and sums in any order or in fixed point.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "ops_math.h"

namespace ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using torch::stable::accelerator::DeviceGuard;

template <typename T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.data_ptr());
}

template <typename T>
T* mutable_data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

template <typename T>
const T* data_or_null(const std::optional<Tensor>& tensor) {
  return tensor ? data<T>(*tensor) : nullptr;
}

inline cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream) == 0, "no CUDA stream");
  return static_cast<cudaStream_t>(stream);
}

inline void check_launch(const char* name) {
  const cudaError_t error = cudaGetLastError();
  STD_TORCH_CHECK(error == cudaSuccess, name, ": ", cudaGetErrorString(error));
}

constexpr int kThreads = 256;

inline dim3 blocks_for(int64_t count, int threads = kThreads) {
  constexpr int64_t most = 1 << 20;  // kernels stride over what is left
  const int64_t blocks = (count + threads - 1) / threads;
  return dim3(unsigned(blocks < 1 ? 1 : (blocks < most ? blocks : most)));
}

// for (int64_t i : this thread's share of [0, count))
#define OPS_FOR_EACH(i, count)                                                                   \
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, i##_count = (count); i < i##_count; \
       i += int64_t(gridDim.x) * blockDim.x)

// Type of the coordinates that go with a type of texels.
template <typename T>
struct CoordinateOf {
  using type = T;
};
template <>
struct CoordinateOf<__half> {
  using type = float;
};

__device__ inline float load(const __half& value) { return __half2float(value); }
__device__ inline float load(const float& value) { return value; }
__device__ inline double load(const double& value) { return value; }
__device__ inline void store(__half& target, float value) { target = __float2half(value); }
__device__ inline void store(float& target, float value) { target = value; }
__device__ inline void store(double& target, double value) { target = value; }

#define OPS_DISPATCH_FLOATING(tensor, ...)              \
  do {                                                  \
    if ((tensor).scalar_type() == ScalarType::Double) { \
      using scalar_t = double;                          \
      __VA_ARGS__();                                    \
    } else {                                            \
      using scalar_t = float;                           \
      __VA_ARGS__();                                    \
    }                                                   \
  } while (false)

#define OPS_DISPATCH_TEXELS(tensor, ...)                     \
  do {                                                       \
    if ((tensor).scalar_type() == ScalarType::Double) {      \
      using texel_t = double;                                \
      __VA_ARGS__();                                         \
    } else if ((tensor).scalar_type() == ScalarType::Half) { \
      using texel_t = __half;                                \
      __VA_ARGS__();                                         \
    } else {                                                 \
      using texel_t = float;                                 \
      __VA_ARGS__();                                         \
    }                                                        \
  } while (false)

// ---- sums ------------------------------------------------------------------------------------------------------

// Adds as threads come: fast, and rounded in an order that changes from run to run.
template <typename T>
struct UnorderedSum {
  T* target;
  __device__ void add(int64_t index, double term) const { atomicAdd(target + index, T(term)); }
};
template <>
struct UnorderedSum<__half> {
  __half* target;
  __device__ void add(int64_t index, double term) const { atomicAdd(target + index, __float2half(float(term))); }
};

// First pass of a deterministic sum: the largest term, whose bits compare like integers.
struct LargestTerm {
  unsigned long long* largest;
  __device__ void add(int64_t, double term) const {
    const double size = fabs(term);
    if (size > 0. && isfinite(size)) atomicMax(largest, static_cast<unsigned long long>(__double_as_longlong(size)));
  }
};

// What of a sum no whole number holds, as bits.
enum Unbounded : int { kInfinite = 1, kMinusInfinite = 2, kNotANumber = 4 };

// Second pass: whole numbers of a unit that leaves room for all terms; their sum does not depend on the order. Terms
// that are not finite are marked beside it, and the sum becomes what adding them gives: a loss that diverged must show.
struct FixedSum {
  const unsigned long long* largest;
  unsigned long long* sums;
  int* unbounded;
  int headroom;  // bits
  __device__ int exponent() const { return 61 - headroom - ilogb(__longlong_as_double(static_cast<long long>(*largest))); }
  __device__ double total(int64_t index) const {
    const int bits = unbounded[index];
    if (bits) return bits == kInfinite ? INFINITY : (bits == kMinusInfinite ? -INFINITY : NAN);
    return *largest ? scalbn(double(static_cast<long long>(sums[index])), -exponent()) : 0.;
  }
  __device__ void add(int64_t index, double term) const {
    if (term == 0.) return;
    if (!isfinite(term)) {
      atomicOr(unbounded + index, term > 0. ? kInfinite : (term < 0. ? kMinusInfinite : kNotANumber));
      return;
    }
    atomicAdd(sums + index, static_cast<unsigned long long>(__double2ll_rn(scalbn(term, exponent()))));
  }
};

template <typename T>
__global__ void finish_sum(FixedSum sum, T* target, int64_t count) {
  OPS_FOR_EACH(i, count) store(target[i], static_cast<decltype(load(target[0]))>(sum.total(i)));
}

// Runs a kernel that adds to a gradient (a zeroed tensor of type T): once with an unordered sum, or twice for a
// deterministic one. `launch` gets the sum; `terms` bounds how many one element of the gradient gets.
template <typename T, typename Launch>
void accumulate(const Tensor& gradient, bool deterministic, int64_t terms, cudaStream_t stream, const Launch& launch) {
  if (!deterministic) {
    launch(UnorderedSum<T>{mutable_data<T>(gradient)});
    return;
  }
  int headroom = 1;
  while ((int64_t(1) << headroom) < terms) ++headroom;
  const int64_t count = gradient.numel();
  const Tensor memory = torch::stable::new_zeros(gradient, {count + 1}, ScalarType::Long);
  auto* words = mutable_data<unsigned long long>(memory);
  const Tensor marks = torch::stable::new_zeros(gradient, {count}, ScalarType::Int);
  const FixedSum sum{words, words + 1, mutable_data<int>(marks), headroom};
  launch(LargestTerm{words});
  launch(sum);
  finish_sum<<<blocks_for(count), kThreads, 0, stream>>>(sum, mutable_data<T>(gradient), count);
}

// ---- mesh ------------------------------------------------------------------------------------------------------

// Faces may be shared [F, 3] or one list per image [B, F, 3].
struct FaceList {
  const int32_t* data;
  int64_t count, batch_stride;

  explicit FaceList(const Tensor& faces)
      : data(ops::data<int32_t>(faces)),
        count(faces.size(faces.dim() - 2)),
        batch_stride(faces.dim() == 3 ? count * 3 : 0) {}

  __device__ const int32_t* of(int64_t batch, int64_t face) const { return data + batch * batch_stride + face * 3; }
};

template <typename scalar_t>
struct Positions {
  const scalar_t* data;
  int64_t vertex_count;
  int height, width;

  __device__ void corners(int64_t batch, const int32_t* vertex, Corner out[3]) const {
    for (int k = 0; k < 3; ++k)
      out[k] = corner_from_clip(data + (batch * vertex_count + vertex[k]) * 4, height, width);
  }
};

// Writes face_id, barycentrics, depth and, where not null, derivatives.
void rasterize_into(const Tensor& clip_positions, const Tensor& faces, const Tensor& face_id,
                    const Tensor& barycentrics, const Tensor& depth, const Tensor* derivatives);

// Adds one pixel's gradient of barycentrics (g[2] = 0) and depth to its face's positions.
template <typename scalar_t, typename Sum>
__device__ void add_position_gradient(const Positions<scalar_t>& positions, int64_t batch, const int32_t* vertex,
                                      const double b[3], double g[3], double grad_depth, const Sum& sum) {
  Corner corners[3];
  positions.corners(batch, vertex, corners);
  double gradient[3][4] = {};
  if (grad_depth != 0.) {
    double z = 0., w = 0.;
    for (int k = 0; k < 3; ++k) {
      z += b[k] * corners[k].z;
      w += b[k] * corners[k].w;
    }
    for (int k = 0; k < 3; ++k) {  // depth = sum b z / sum b w
      gradient[k][2] += grad_depth * b[k] / w;
      gradient[k][3] -= grad_depth * b[k] * z / (w * w);
      g[k] += grad_depth * (corners[k].z - z / w * corners[k].w) / w;
    }
  }
  const double mean = g[0] * b[0] + g[1] * b[1] + g[2] * b[2];
  double moments[3][3];
  for (int j = 0; j < 3; ++j)
    for (int k = 0; k < 3; ++k) moments[j][k] = b[j] * (g[k] - mean);
  position_gradient(corners, moments, positions.height, positions.width, gradient);
  for (int k = 0; k < 3; ++k)
    for (int axis = 0; axis < 4; ++axis)
      if (gradient[k][axis] != 0.) sum.add((batch * positions.vertex_count + vertex[k]) * 4 + axis, gradient[k][axis]);
}

}  // namespace ops
