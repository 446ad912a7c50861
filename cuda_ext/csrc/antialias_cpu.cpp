// antialias() on the CPU. Images lie channels last. A pixel gathers from its four neighbours, in a fixed order.
#include "cpu.h"

namespace ops {
namespace {

template <typename scalar_t>
struct Outline {
  const int32_t *face_id, *topology;
  const scalar_t *depth, *positions;
  FaceList faces;
  int64_t batch, topology_stride, positions_stride;
  int height, width;

  void corners(int32_t face, Corner out[3]) const {
    const int32_t* vertex = vertices(face);
    for (int k = 0; k < 3; ++k)
      out[k] = corner_from_clip(positions + batch * positions_stride + 4 * int64_t(vertex[k]), height, width);
  }

  const int32_t* vertices(int32_t face) const { return faces.of(batch, face); }

  const int32_t* neighbours(int32_t face) const { return topology + batch * topology_stride + int64_t(face) * 3; }

  int64_t pixel(int row, int column) const { return (batch * height + row) * int64_t(width) + column; }

  // Blend between a pixel and its right (down = 0) or lower (down = 1) neighbour.
  Blend between(int row, int column, int down) const {
    Blend blend;
    const int64_t first = pixel(row, column), second = down ? first + width : first + 1;
    if (face_id[first] == face_id[second]) return blend;
    const bool front_first = face_id[second] < 0 || (face_id[first] >= 0 && depth[first] <= depth[second]);
    const double here[2] = {column + 0.5, row + 0.5}, there[2] = {column + (down ? 0.5 : 1.5), row + (down ? 1.5 : 0.5)};
    find_blend(*this, face_id[front_first ? first : second], front_first ? here : there, front_first ? there : here,
               front_first, blend);
    return blend;
  }

  // Calls visit(blend, other pixel, this one is the one that takes) for every blend that a pixel is part of.
  template <typename F>
  void around(int row, int column, const F& visit) const {
    const int64_t self = pixel(row, column);
    const auto pair = [&](int r, int c, int down, int64_t other, bool is_second) {
      const Blend blend = between(r, c, down);
      if (blend.share > 0.) visit(blend, other, blend.second == is_second);
    };
    if (column > 0) pair(row, column - 1, 0, self - 1, true);
    if (column + 1 < width) pair(row, column, 0, self + 1, false);
    if (row > 0) pair(row - 1, column, 1, self - width, true);
    if (row + 1 < height) pair(row, column, 1, self + width, false);
  }
};

template <typename scalar_t>
Outline<scalar_t> make_outline(const Tensor& face_id, const Tensor& depth, const Tensor& clip_positions,
                               const Tensor& faces, const Tensor& topology, int64_t batch) {
  return {data<int32_t>(face_id),
          data<int32_t>(topology),
          data<scalar_t>(depth),
          data<scalar_t>(clip_positions),
          FaceList(faces),
          batch,
          topology.dim() == 3 ? topology.size(1) * 3 : 0,
          clip_positions.size(1) * 4,
          int(face_id.size(1)),
          int(face_id.size(2))};
}

Tensor antialias(const Tensor& image, const Tensor& face_id, const Tensor& depth, const Tensor& clip_positions,
                 const Tensor& faces, const Tensor& topology, bool /*deterministic*/) {
  require_mesh(clip_positions, faces);
  require_faces(face_id, faces);
  require_faces(topology, faces);
  const Tensor out = torch::stable::new_empty(image, image.sizes());
  const int64_t rows = image.size(0) * image.size(1), channels = image.size(3);
  OPS_DISPATCH_FLOATING(image, [&] {
    const scalar_t* colours = data<scalar_t>(image);
    for_each_task(rows, [&](int64_t task) {
      const auto outline =
          make_outline<scalar_t>(face_id, depth, clip_positions, faces, topology, task / image.size(1));
      const int row = int(task % outline.height);
      for (int column = 0; column < outline.width; ++column) {
        const scalar_t* own = colours + outline.pixel(row, column) * channels;
        scalar_t* target = mutable_data<scalar_t>(out) + outline.pixel(row, column) * channels;
        std::copy_n(own, channels, target);
        outline.around(row, column, [&](const Blend& blend, int64_t other, bool takes) {
          if (!takes) return;
          for (int64_t c = 0; c < channels; ++c)
            target[c] += scalar_t(blend.share) * (colours[other * channels + c] - own[c]);
        });
      }
    });
  });
  return out;
}

struct CornerGradient {
  int32_t vertex;
  double q[3];
};

// Gradient of one row's blends, each taken once (with the right and the lower neighbour), to the edges' corners.
template <typename scalar_t>
void collect_row(const Outline<scalar_t>& outline, int row, const scalar_t* colours, const scalar_t* grad,
                 int64_t channels, std::vector<CornerGradient>& gradients) {
  for (int column = 0; column < outline.width; ++column)
    for (int down = 0; down < 2; ++down) {
      if (down ? row + 1 >= outline.height : column + 1 >= outline.width) continue;
      const Blend blend = outline.between(row, column, down);
      if (!(blend.share > 0.)) continue;
      const int64_t first = outline.pixel(row, column), second = down ? first + outline.width : first + 1;
      const int64_t taker = blend.second ? second : first, giver = blend.second ? first : second;
      double slope = 0.;
      for (int64_t c = 0; c < channels; ++c)
        slope += double(grad[taker * channels + c] * (colours[giver * channels + c] - colours[taker * channels + c]));
      const int32_t* vertex = outline.vertices(blend.face);
      CornerGradient from{vertex[blend.from], {}}, to{vertex[blend.to], {}};
      blend_gradient(blend, from.q, to.q);
      for (int i = 0; i < 3; ++i) {
        from.q[i] *= slope;
        to.q[i] *= slope;
      }
      gradients.push_back(from);
      gradients.push_back(to);
    }
}

std::tuple<Tensor, Tensor> antialias_backward(const Tensor& image, const Tensor& face_id, const Tensor& depth,
                                              const Tensor& clip_positions, const Tensor& faces, const Tensor& topology,
                                              const Tensor& grad, bool /*deterministic*/) {
  const Tensor grad_image = torch::stable::new_empty(image, image.sizes());
  const Tensor grad_positions = torch::stable::new_zeros(clip_positions, clip_positions.sizes());
  const int64_t height = image.size(1), rows = image.size(0) * height, channels = image.size(3);
  OPS_DISPATCH_FLOATING(image, [&] {
    const scalar_t* source = data<scalar_t>(grad);
    std::vector<std::vector<CornerGradient>> gradients(rows);
    for_each_task(rows, [&](int64_t task) {
      const auto outline = make_outline<scalar_t>(face_id, depth, clip_positions, faces, topology, task / height);
      const int row = int(task % height);
      for (int column = 0; column < outline.width; ++column) {
        const int64_t self = outline.pixel(row, column);
        scalar_t* target = mutable_data<scalar_t>(grad_image) + self * channels;
        std::copy_n(source + self * channels, channels, target);
        outline.around(row, column, [&](const Blend& blend, int64_t other, bool takes) {
          const scalar_t share = scalar_t(takes ? -blend.share : blend.share);
          const int64_t taker = takes ? self : other;
          for (int64_t c = 0; c < channels; ++c) target[c] += share * source[taker * channels + c];
        });
      }
      collect_row(outline, row, data<scalar_t>(image), source, channels, gradients[task]);
    });
    for (int64_t task = 0; task < rows; ++task) {
      scalar_t* target = mutable_data<scalar_t>(grad_positions) + task / height * clip_positions.size(1) * 4;
      for (const CornerGradient& gradient : gradients[task])
        add_clip_gradient(gradient.q, int(height), int(image.size(2)), [&](int axis, double value) {
          target[4 * int64_t(gradient.vertex) + axis] += scalar_t(value);
        });
    }
  });
  return {grad_image, grad_positions};
}

}  // namespace
}  // namespace ops

STABLE_TORCH_LIBRARY_IMPL(cuda_ext, CPU, m) {
  m.impl("antialias", TORCH_BOX(&ops::antialias));
  m.impl("antialias_backward", TORCH_BOX(&ops::antialias_backward));
}
