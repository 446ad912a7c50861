// What the CPU ops share: tensor accessors, threads, the per-image set-up of a mesh.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "ops_math.h"

// Compiles a function for three generations of processors and picks one when the library is loaded. The results are the
// same: contraction to fused multiply-adds is off. What it calls must be inlined into it.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define OPS_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define OPS_CLONES
#endif

namespace ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.data_ptr());
}

template <typename T>
T* mutable_data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

// Runs body<float> or body<double> by the type of `tensor`; Python has already refused any other.
#define OPS_DISPATCH_FLOATING(tensor, ...)                  \
  do {                                                      \
    if ((tensor).scalar_type() == ScalarType::Double) {     \
      using scalar_t = double;                              \
      __VA_ARGS__();                                        \
    } else {                                                \
      using scalar_t = float;                               \
      __VA_ARGS__();                                        \
    }                                                       \
  } while (false)

// Calls task(i) for every i, on all of torch's threads, which take the next index as they become free. What a task
// writes must not depend on the others: then neither order nor thread count shows in the result.
template <typename F>
void for_each_task(int64_t count, const F& task) {
  const int64_t threads = std::min<int64_t>(torch::stable::get_num_threads(), count);
  if (threads <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker)
      for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) task(i);
  });
}

constexpr int kLanes = 16;  // loops of this length become one vector operation, or a few

// Faces may be shared [F, 3] or one list per image [B, F, 3].
struct FaceList {
  const int32_t* data;
  int64_t count, batch_stride;

  explicit FaceList(const Tensor& faces)
      : data(ops::data<int32_t>(faces)),
        count(faces.size(faces.dim() - 2)),
        batch_stride(faces.dim() == 3 ? count * 3 : 0) {}

  const int32_t* of(int64_t batch, int64_t face) const { return data + batch * batch_stride + face * 3; }
};

// What check_mesh() answers; of several faults the first.
enum MeshFault : int64_t { kNoFault = 0, kNotFinite = 1, kIndexOutside = 2 };
int64_t check_mesh(const Tensor& values, const Tensor& faces);

// Whether all of `indices` are in [least, end).
bool indices_inside(const Tensor& indices, int64_t least, int64_t end);

// Throw where values would lead out of memory. Python has looked at them before and says it better; but a compiled
// graph looks at shapes alone, and its values come here unseen.
void require_mesh(const Tensor& values, const Tensor& faces);
void require_faces(const Tensor& indices, const Tensor& faces);

}  // namespace ops
