// antialias() on CUDA. Images lie channels last. A pixel gathers from its four neighbours, in the order of the CPU.
#include "cuda.cuh"

namespace ops {
namespace {

// One image's mesh, as find_blend() wants it.
template <typename scalar_t>
struct MeshView {
  Positions<scalar_t> positions;
  FaceList faces;
  const int32_t* topology;
  int64_t topology_stride, batch;

  __device__ const int32_t* vertices(int32_t face) const { return faces.of(batch, face); }
  __device__ void corners(int32_t face, Corner out[3]) const { positions.corners(batch, vertices(face), out); }
  __device__ const int32_t* neighbours(int32_t face) const {
    return topology + batch * topology_stride + int64_t(face) * 3;
  }
};

template <typename scalar_t>
struct Outline {
  MeshView<scalar_t> mesh;  // of image 0
  const int32_t* face_id;
  const scalar_t* depth;
  int64_t channels;

  Outline(const Tensor& image, const Tensor& id, const Tensor& pixel_depth, const Tensor& clip_positions,
          const Tensor& faces, const Tensor& topology)
      : mesh{{data<scalar_t>(clip_positions), clip_positions.size(1), int(id.size(1)), int(id.size(2))},
             FaceList(faces),
             data<int32_t>(topology),
             topology.dim() == 3 ? topology.size(1) * 3 : 0,
             0},
        face_id(data<int32_t>(id)),
        depth(data<scalar_t>(pixel_depth)),
        channels(image.size(3)) {}

  __device__ int height() const { return mesh.positions.height; }
  __device__ int width() const { return mesh.positions.width; }

  // Blend between a pixel and its right (down = 0) or lower (down = 1) neighbour.
  __device__ Blend between(int64_t batch, int row, int column, int down) const {
    Blend blend;
    const int64_t first = (batch * height() + row) * int64_t(width()) + column;
    const int64_t second = down ? first + width() : first + 1;
    if (face_id[first] == face_id[second]) return blend;
    const bool front_first = face_id[second] < 0 || (face_id[first] >= 0 && depth[first] <= depth[second]);
    const double here[2] = {column + 0.5, row + 0.5}, there[2] = {column + (down ? 0.5 : 1.5), row + (down ? 1.5 : 0.5)};
    MeshView<scalar_t> view = mesh;
    view.batch = batch;
    find_blend(view, face_id[front_first ? first : second], front_first ? here : there, front_first ? there : here,
               front_first, blend);
    return blend;
  }

  // Calls visit(blend, other pixel, this one is the one that takes) for every blend that pixel `self` is part of.
  template <typename F>
  __device__ void around(int64_t self, const F& visit) const {
    const int column = int(self % width()), row = int(self / width() % height());
    const int64_t batch = self / width() / height();
    const int64_t others[4] = {self - 1, self + 1, self - width(), self + width()};
    const bool inside[4] = {column > 0, column + 1 < width(), row > 0, row + 1 < height()};
    for (int side = 0; side < 4; ++side) {
      if (!inside[side]) continue;
      const int down = side / 2;
      const bool is_second = side % 2 == 0;  // left and upper neighbours are the first of their pair
      const Blend blend =
          between(batch, row - (is_second && down ? 1 : 0), column - (is_second && !down ? 1 : 0), down);
      if (blend.share > 0.) visit(blend, others[side], blend.second == is_second);
    }
  }
};

template <typename scalar_t>
__global__ void antialias_kernel(Outline<scalar_t> outline, int64_t pixels, const scalar_t* image, scalar_t* out) {
  const int64_t channels = outline.channels;
  OPS_FOR_EACH(self, pixels) {
    const scalar_t* own = image + self * channels;
    scalar_t* target = out + self * channels;
    for (int64_t c = 0; c < channels; ++c) target[c] = own[c];
    outline.around(self, [&](const Blend& blend, int64_t other, bool takes) {
      if (!takes) return;
      for (int64_t c = 0; c < channels; ++c)
        target[c] += scalar_t(blend.share) * (image[other * channels + c] - own[c]);
    });
  }
}

template <typename scalar_t>
__global__ void image_backward_kernel(Outline<scalar_t> outline, int64_t pixels, const scalar_t* grad,
                                      scalar_t* grad_image) {
  const int64_t channels = outline.channels;
  OPS_FOR_EACH(self, pixels) {
    scalar_t* target = grad_image + self * channels;
    for (int64_t c = 0; c < channels; ++c) target[c] = grad[self * channels + c];
    outline.around(self, [&](const Blend& blend, int64_t other, bool takes) {
      const scalar_t share = scalar_t(takes ? -blend.share : blend.share);
      const int64_t taker = takes ? self : other;
      for (int64_t c = 0; c < channels; ++c) target[c] += share * grad[taker * channels + c];
    });
  }
}

// Each blend once, by the first pixel of the pair.
template <typename scalar_t, typename Sum>
__global__ void positions_backward_kernel(Outline<scalar_t> outline, int64_t pixels, const scalar_t* image,
                                          const scalar_t* grad, Sum sum) {
  const int64_t channels = outline.channels;
  const Positions<scalar_t>& positions = outline.mesh.positions;
  OPS_FOR_EACH(self, pixels) {
    const int column = int(self % outline.width()), row = int(self / outline.width() % outline.height());
    const int64_t batch = self / outline.width() / outline.height();
    for (int down = 0; down < 2; ++down) {
      if (down ? row + 1 >= outline.height() : column + 1 >= outline.width()) continue;
      const Blend blend = outline.between(batch, row, column, down);
      if (!(blend.share > 0.)) continue;
      const int64_t second = down ? self + outline.width() : self + 1;
      const int64_t taker = blend.second ? second : self, giver = blend.second ? self : second;
      double slope = 0.;
      for (int64_t c = 0; c < channels; ++c)
        slope += double(grad[taker * channels + c] * (image[giver * channels + c] - image[taker * channels + c]));
      const int32_t* vertex = outline.mesh.faces.of(batch, blend.face);
      double q[2][3];
      blend_gradient(blend, q[0], q[1]);
      for (int end = 0; end < 2; ++end) {
        for (int i = 0; i < 3; ++i) q[end][i] *= slope;
        const int64_t first = (batch * positions.vertex_count + vertex[end ? blend.to : blend.from]) * 4;
        add_clip_gradient(q[end], positions.height, positions.width,
                          [&](int axis, double value) { sum.add(first + axis, value); });
      }
    }
  }
}

Tensor antialias(const Tensor& image, const Tensor& face_id, const Tensor& depth, const Tensor& clip_positions,
                 const Tensor& faces, const Tensor& topology, bool /*deterministic*/) {
  const DeviceGuard guard(image.get_device_index());
  const cudaStream_t stream = current_stream(image);
  const Tensor out = torch::stable::new_empty(image, image.sizes());
  const int64_t pixels = face_id.numel();
  if (pixels == 0) return out;
  OPS_DISPATCH_FLOATING(image, [&] {
    antialias_kernel<<<blocks_for(pixels), kThreads, 0, stream>>>(
        Outline<scalar_t>(image, face_id, depth, clip_positions, faces, topology), pixels, data<scalar_t>(image),
        mutable_data<scalar_t>(out));
  });
  check_launch("antialias");
  return out;
}

std::tuple<Tensor, Tensor> antialias_backward(const Tensor& image, const Tensor& face_id, const Tensor& depth,
                                              const Tensor& clip_positions, const Tensor& faces, const Tensor& topology,
                                              const Tensor& grad, bool deterministic) {
  const DeviceGuard guard(image.get_device_index());
  const cudaStream_t stream = current_stream(image);
  const Tensor grad_image = torch::stable::new_empty(image, image.sizes());
  const Tensor grad_positions = torch::stable::new_zeros(clip_positions, clip_positions.sizes());
  const int64_t pixels = face_id.numel();
  if (pixels == 0) return {grad_image, grad_positions};
  OPS_DISPATCH_FLOATING(image, [&] {
    const Outline<scalar_t> outline(image, face_id, depth, clip_positions, faces, topology);
    image_backward_kernel<<<blocks_for(pixels), kThreads, 0, stream>>>(outline, pixels, data<scalar_t>(grad),
                                                                       mutable_data<scalar_t>(grad_image));
    accumulate<scalar_t>(grad_positions, deterministic, 4 * pixels, stream, [&](auto sum) {
      positions_backward_kernel<<<blocks_for(pixels), kThreads, 0, stream>>>(outline, pixels, data<scalar_t>(image),
                                                                             data<scalar_t>(grad), sum);
    });
  });
  check_launch("antialias_backward");
  return {grad_image, grad_positions};
}

}  // namespace
}  // namespace ops

STABLE_TORCH_LIBRARY_IMPL(cuda_ext, CUDA, m) {
  m.impl("antialias", TORCH_BOX(&ops::antialias));
  m.impl("antialias_backward", TORCH_BOX(&ops::antialias_backward));
}
