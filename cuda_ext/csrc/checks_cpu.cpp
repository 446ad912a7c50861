// Checks of values on the CPU: what would be read or written beyond a tensor's end, or has no place in the picture.
#include "cpu.h"

namespace ops {
namespace {

constexpr int64_t kTaskValues = 1 << 16;

OPS_CLONES bool are_inside(const int32_t* indices, int64_t count, int32_t least, uint32_t size) {
  uint32_t outside = 0;
  for (int64_t i = 0; i < count; ++i) outside |= uint32_t(indices[i]) - uint32_t(least) >= size;
  return !outside;
}

template <typename scalar_t>
bool are_finite(const scalar_t* values, int64_t count) {
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) finite &= std::isfinite(values[i]);
  return finite;
}

// Whether check(first, count) holds for all shares of [0, count).
template <typename F>
bool holds(int64_t count, const F& check) {
  std::atomic<bool> good{true};
  for_each_task((count + kTaskValues - 1) / kTaskValues, [&](int64_t task) {
    const int64_t first = task * kTaskValues;
    if (!check(first, std::min(kTaskValues, count - first))) good = false;
  });
  return good;
}

}  // namespace

bool indices_inside(const Tensor& indices, int64_t least, int64_t end) {
  return holds(indices.numel(), [&](int64_t first, int64_t count) {
    return are_inside(data<int32_t>(indices) + first, count, int32_t(least), count_between(least, end));
  });
}

int64_t check_mesh(const Tensor& values, const Tensor& faces) {
  bool finite = true;
  OPS_DISPATCH_FLOATING(values, [&] {
    finite = holds(values.numel(), [&](int64_t first, int64_t count) {
      return are_finite(data<scalar_t>(values) + first, count);
    });
  });
  if (!finite) return kNotFinite;
  return indices_inside(faces, 0, values.size(values.dim() - 2)) ? kNoFault : kIndexOutside;
}

void require_mesh(const Tensor& values, const Tensor& faces) {
  const int64_t fault = check_mesh(values, faces);
  STD_TORCH_CHECK(fault != kNotFinite, "a position or attribute is not finite");
  STD_TORCH_CHECK(fault != kIndexOutside, "a face names a vertex that is not there");
}

void require_faces(const Tensor& indices, const Tensor& faces) {
  STD_TORCH_CHECK(indices_inside(indices, -1, faces.size(faces.dim() - 2)), "a face is named that is not there");
}

}  // namespace ops

STABLE_TORCH_LIBRARY_IMPL(cuda_ext, CPU, m) {
  m.impl("check_mesh", TORCH_BOX(&ops::check_mesh));
  m.impl("indices_inside", TORCH_BOX(&ops::indices_inside));
}
