// Checks of values on CUDA; they wait for the device.
#include "cuda.cuh"

namespace ops {
namespace {

template <typename scalar_t>
__global__ void find_not_finite(const scalar_t* values, int64_t count, int32_t* found) {
  OPS_FOR_EACH(i, count) {
    if (!isfinite(values[i])) atomicOr(found, 1);
  }
}

__global__ void find_outside(const int32_t* indices, int64_t count, int32_t least, uint32_t size, int32_t* found) {
  OPS_FOR_EACH(i, count) {
    if (uint32_t(indices[i]) - uint32_t(least) >= size) atomicOr(found, 2);
  }
}

int32_t on_host(const Tensor& found, cudaStream_t stream) {
  check_launch("check");
  int32_t host = 0;
  cudaMemcpyAsync(&host, data<int32_t>(found), sizeof(host), cudaMemcpyDeviceToHost, stream);
  cudaStreamSynchronize(stream);
  check_launch("check");
  return host;
}

void find_outside_of(const Tensor& indices, int64_t least, int64_t end, const Tensor& found, cudaStream_t stream) {
  find_outside<<<blocks_for(indices.numel()), kThreads, 0, stream>>>(
      data<int32_t>(indices), indices.numel(), int32_t(least), count_between(least, end), mutable_data<int32_t>(found));
}

bool indices_inside(const Tensor& indices, int64_t least, int64_t end) {
  const DeviceGuard guard(indices.get_device_index());
  const cudaStream_t stream = current_stream(indices);
  const Tensor found = torch::stable::new_zeros(indices, {1});
  find_outside_of(indices, least, end, found, stream);
  return on_host(found, stream) == 0;
}

// As on the CPU.
int64_t check_mesh(const Tensor& values, const Tensor& faces) {
  const DeviceGuard guard(values.get_device_index());
  const cudaStream_t stream = current_stream(values);
  const Tensor found = torch::stable::new_zeros(faces, {1});
  OPS_DISPATCH_FLOATING(values, [&] {
    find_not_finite<<<blocks_for(values.numel()), kThreads, 0, stream>>>(data<scalar_t>(values), values.numel(),
                                                                         mutable_data<int32_t>(found));
  });
  find_outside_of(faces, 0, values.size(values.dim() - 2), found, stream);
  const int32_t bits = on_host(found, stream);
  return bits & 1 ? 1 : bits;
}

}  // namespace
}  // namespace ops

STABLE_TORCH_LIBRARY_IMPL(cuda_ext, CUDA, m) {
  m.impl("check_mesh", TORCH_BOX(&ops::check_mesh));
  m.impl("indices_inside", TORCH_BOX(&ops::indices_inside));
}
