// rasterize() on CUDA. Faces are drawn by atomic minima of (depth, face) into one 64-bit word per pixel, so the order of
// threads does not matter: small faces by one warp each, large ones tile by tile. Then every pixel is resolved. Nothing
// waits for the host.
#include "cuda.cuh"

namespace ops {
namespace {

constexpr int kWarp = 32;
constexpr int64_t kSmallArea = 2048;  // px of the bounding box that one warp still draws
constexpr int kTile = 32;             // px, of the tiles that large faces are drawn in
constexpr int kFacesAtOnce = 32;      // large faces set up together by a tile

struct DrawnPiece {
  Piece piece;
  double depth[3];
  int32_t face;
};

__device__ void draw_pixel(const DrawnPiece& drawn, int column, int row, unsigned long long* word) {
  const Piece& piece = drawn.piece;
  for (int k = 0; k < 3; ++k)
    if (piece.a[k] * int64_t(column) + piece.b[k] * int64_t(row) + piece.c[k] < 0) return;
  // As on the CPU: depths are compared after rounding to float. Adding zero makes -0 and 0 equal.
  const float depth = float(dot_point(drawn.depth, column + 0.5, row + 0.5)) + 0.f;
  const uint32_t bits = __float_as_uint(depth), ordered = bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
  atomicMin(word, (static_cast<unsigned long long>(ordered) << 32) | static_cast<uint32_t>(drawn.face));
}

template <typename scalar_t>
__device__ int set_up(const Positions<scalar_t>& positions, const FaceList& faces, int64_t batch, int64_t face,
                      Piece pieces[kMaxPieces], double depth[3]) {
  Corner corners[3];
  positions.corners(batch, faces.of(batch, face), corners);
  FaceForm form;
  if (!make_form(corners, form)) return 0;
  for (int i = 0; i < 3; ++i) depth[i] = form.depth[i];
  return make_pieces(corners, positions.height, positions.width, pieces);
}

// One warp per face. Faces with a large piece are put on the image's list: large[batch][0] holds their number.
template <typename scalar_t>
__global__ void draw_small_faces(Positions<scalar_t> positions, FaceList faces, int64_t batch_size, int32_t* large,
                                 unsigned long long* words) {
  const int lane = threadIdx.x % kWarp;
  const int64_t pixels = int64_t(positions.height) * positions.width;
  const int64_t warps = int64_t(gridDim.x) * blockDim.x / kWarp;
  for (int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp; i < batch_size * faces.count; i += warps) {
    const int64_t batch = i / faces.count, face = i % faces.count;
    Piece pieces[kMaxPieces];
    DrawnPiece drawn;
    drawn.face = int32_t(face);
    const int count = set_up(positions, faces, batch, face, pieces, drawn.depth);
    int64_t largest = 0;
    for (int k = 0; k < count; ++k) {
      const Piece& p = pieces[k];
      const int64_t area = int64_t(p.column_max - p.column_min + 1) * (p.row_max - p.row_min + 1);
      largest = area > largest ? area : largest;
    }
    if (largest > kSmallArea) {
      if (lane == 0) {
        int32_t* list = large + batch * (faces.count + 1);
        list[1 + atomicAdd(list, 1)] = int32_t(face);
      }
      continue;
    }
    for (int k = 0; k < count; ++k) {
      drawn.piece = pieces[k];
      const Piece& p = drawn.piece;
      const int columns = p.column_max - p.column_min + 1, area = columns * (p.row_max - p.row_min + 1);
      for (int at = lane; at < area; at += kWarp) {
        const int column = p.column_min + at % columns, row = p.row_min + at / columns;
        draw_pixel(drawn, column, row, words + batch * pixels + int64_t(row) * positions.width + column);
      }
    }
  }
}

// One block per tile and image: blockIdx = (tile column, tile row, batch), threads are 32 x 8.
template <typename scalar_t>
__global__ void draw_large_faces(Positions<scalar_t> positions, FaceList faces, int64_t batch_size,
                                 const int32_t* large, unsigned long long* words) {
  __shared__ DrawnPiece pieces[kFacesAtOnce * kMaxPieces];
  __shared__ int piece_count;
  const int64_t pixels = int64_t(positions.height) * positions.width;
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  const int column_first = blockIdx.x * kTile, row_first = blockIdx.y * kTile;
  for (int64_t batch = blockIdx.z; batch < batch_size; batch += gridDim.z) {
    const int32_t* list = large + batch * (faces.count + 1);
    for (int first = 0; first < list[0]; first += kFacesAtOnce) {
      __syncthreads();
      if (thread == 0) piece_count = 0;
      __syncthreads();
      if (thread < kFacesAtOnce && first + thread < list[0]) {
        Piece made[kMaxPieces];
        double depth[3];
        const int32_t face = list[1 + first + thread];
        const int count = set_up(positions, faces, batch, face, made, depth);
        for (int k = 0; k < count; ++k) {
          const Piece& p = made[k];
          if (p.column_max < column_first || p.column_min >= column_first + kTile || p.row_max < row_first ||
              p.row_min >= row_first + kTile)
            continue;
          DrawnPiece& drawn = pieces[atomicAdd(&piece_count, 1)];
          drawn.piece = p;
          drawn.face = face;
          for (int i = 0; i < 3; ++i) drawn.depth[i] = depth[i];
        }
      }
      __syncthreads();
      const int column = column_first + threadIdx.x;
      for (int row = row_first + threadIdx.y; row < row_first + kTile; row += blockDim.y) {
        if (column >= positions.width || row >= positions.height) continue;
        unsigned long long* word = words + batch * pixels + int64_t(row) * positions.width + column;
        for (int k = 0; k < piece_count; ++k) draw_pixel(pieces[k], column, row, word);
      }
    }
  }
}

template <typename scalar_t>
__global__ void resolve_pixels(Positions<scalar_t> positions, FaceList faces, int64_t batch_size,
                               const unsigned long long* words, int32_t* face_id, scalar_t* barycentrics,
                               scalar_t* depth, scalar_t* derivatives) {
  const int64_t pixels = int64_t(positions.height) * positions.width;
  OPS_FOR_EACH(i, batch_size * pixels) {
    const int64_t batch = i / pixels, pixel = i % pixels;
    const unsigned long long word = words[i];
    const int32_t face = word == ~0ull ? -1 : int32_t(uint32_t(word));
    double u = 0., v = 0., z = 1., slopes[4] = {0., 0., 0., 0.};
    if (face >= 0) {
      const double x = pixel % positions.width + 0.5, y = pixel / positions.width + 0.5;
      Corner corners[3];
      FaceForm form;
      positions.corners(batch, faces.of(batch, face), corners);
      make_form(corners, form);
      barycentrics_at(form, x, y, u, v);
      z = dot_point(form.depth, x, y);
      if (derivatives) barycentric_derivatives_at(form, x, y, u, v, slopes);
    }
    face_id[i] = face;
    barycentrics[2 * i] = scalar_t(u);
    barycentrics[2 * i + 1] = scalar_t(v);
    depth[i] = scalar_t(z);
    if (derivatives)
      for (int k = 0; k < 4; ++k) derivatives[4 * i + k] = scalar_t(slopes[k]);
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor> rasterize(const Tensor& clip_positions, const Tensor& faces, int64_t height,
                                                     int64_t width, bool derivatives, bool /*deterministic*/) {
  const DeviceGuard guard(clip_positions.get_device_index());
  const int64_t batch_size = clip_positions.size(0);
  const Tensor face_id = torch::stable::new_empty(faces, {batch_size, height, width});
  const Tensor barycentrics = torch::stable::new_empty(clip_positions, {batch_size, height, width, 2});
  const Tensor depth = torch::stable::new_empty(clip_positions, {batch_size, height, width});
  const Tensor slopes = derivatives ? torch::stable::new_empty(clip_positions, {batch_size, height, width, 4})
                                    : torch::stable::new_empty(clip_positions, {0});
  rasterize_into(clip_positions, faces, face_id, barycentrics, depth, derivatives ? &slopes : nullptr);
  return {barycentrics, depth, face_id, slopes};
}

template <typename scalar_t, typename Sum>
__global__ void rasterize_backward_kernel(Positions<scalar_t> positions, FaceList faces, int64_t batch_size,
                                          const int32_t* face_id, const scalar_t* barycentrics,
                                          const scalar_t* grad_barycentrics, const scalar_t* grad_depth, Sum sum) {
  const int64_t pixels = int64_t(positions.height) * positions.width;
  OPS_FOR_EACH(i, batch_size * pixels) {
    if (face_id[i] < 0) continue;
    const int64_t batch = i / pixels;
    const double u = barycentrics[2 * i], v = barycentrics[2 * i + 1], b[3] = {u, v, 1. - u - v};
    double g[3] = {double(grad_barycentrics[2 * i]), double(grad_barycentrics[2 * i + 1]), 0.};
    add_position_gradient(positions, batch, faces.of(batch, face_id[i]), b, g, grad_depth ? double(grad_depth[i]) : 0.,
                          sum);
  }
}

Tensor rasterize_backward(const Tensor& clip_positions, const Tensor& faces, const Tensor& face_id,
                          const Tensor& barycentrics, const Tensor& grad_barycentrics,
                          const std::optional<Tensor>& grad_depth, bool deterministic) {
  const DeviceGuard guard(clip_positions.get_device_index());
  const cudaStream_t stream = current_stream(clip_positions);
  const Tensor grad_positions = torch::stable::new_zeros(clip_positions, clip_positions.sizes());
  const int64_t batch_size = face_id.size(0);
  OPS_DISPATCH_FLOATING(clip_positions, [&] {
    const Positions<scalar_t> positions{data<scalar_t>(clip_positions), clip_positions.size(1), int(face_id.size(1)),
                                        int(face_id.size(2))};
    accumulate<scalar_t>(grad_positions, deterministic, 3 * face_id.numel(), stream, [&](auto sum) {
      rasterize_backward_kernel<<<blocks_for(face_id.numel()), kThreads, 0, stream>>>(
          positions, FaceList(faces), batch_size, data<int32_t>(face_id), data<scalar_t>(barycentrics),
          data<scalar_t>(grad_barycentrics), data_or_null<scalar_t>(grad_depth), sum);
    });
  });
  check_launch("rasterize_backward");
  return grad_positions;
}

}  // namespace

void rasterize_into(const Tensor& clip_positions, const Tensor& faces, const Tensor& face_id,
                    const Tensor& barycentrics, const Tensor& depth, const Tensor* derivatives) {
  const cudaStream_t stream = current_stream(clip_positions);
  const int64_t batch_size = face_id.size(0), pixels = face_id.numel();
  if (pixels == 0) return;
  const int height = int(face_id.size(1)), width = int(face_id.size(2));
  const FaceList list(faces);
  const Tensor words = torch::stable::new_empty(face_id, face_id.sizes(), ScalarType::Long);
  const Tensor large = torch::stable::new_zeros(faces, {batch_size, list.count + 1});
  auto* word = mutable_data<unsigned long long>(words);
  cudaMemsetAsync(word, 0xff, size_t(pixels) * sizeof(*word), stream);
  OPS_DISPATCH_FLOATING(clip_positions, [&] {
    const Positions<scalar_t> positions{data<scalar_t>(clip_positions), clip_positions.size(1), height, width};
    if (list.count > 0) {
      draw_small_faces<<<blocks_for(batch_size * list.count * kWarp), kThreads, 0, stream>>>(
          positions, list, batch_size, mutable_data<int32_t>(large), word);
      const dim3 tiles((width + kTile - 1) / kTile, (height + kTile - 1) / kTile,
                       unsigned(batch_size < 65535 ? batch_size : 65535));
      draw_large_faces<<<tiles, dim3(kTile, 8), 0, stream>>>(positions, list, batch_size, data<int32_t>(large), word);
    }
    resolve_pixels<<<blocks_for(pixels), kThreads, 0, stream>>>(
        positions, list, batch_size, word, mutable_data<int32_t>(face_id), mutable_data<scalar_t>(barycentrics),
        mutable_data<scalar_t>(depth), derivatives ? mutable_data<scalar_t>(*derivatives) : nullptr);
  });
  check_launch("rasterize");
}

}  // namespace ops

STABLE_TORCH_LIBRARY_IMPL(cuda_ext, CUDA, m) {
  m.impl("rasterize", TORCH_BOX(&ops::rasterize));
  m.impl("rasterize_backward", TORCH_BOX(&ops::rasterize_backward));
}
