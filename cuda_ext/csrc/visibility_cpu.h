// Visibility on the CPU, for rasterize() and shade(): set-up of a mesh, drawing of a band of rows, and the sums of the
// backward pass.
#pragma once

#include <memory>

#include "cpu.h"

namespace ops {

constexpr int kBandRows = 16;
constexpr int kSetupChunk = 128;  // faces per set-up task

struct DrawnPiece {
  Piece piece;
  int32_t face;
  bool narrow;      // its edge values, around its bounding box, fit 32 bits
  double depth[3];  // FaceForm::depth
};

// Depth and face of a band of rows. Rows are padded, so that a block of columns may reach over their end.
struct BandBuffer {
  int row_begin, row_end, stride;
  std::unique_ptr<float[]> nearest;
  std::unique_ptr<int32_t[]> face;

  BandBuffer(int begin, int end, int width)
      : row_begin(begin),
        row_end(end),
        stride(width + kLanes),
        nearest(new float[size_t(end - begin) * stride]),
        face(new int32_t[size_t(end - begin) * stride]) {
    std::fill_n(nearest.get(), size_t(end - begin) * stride, INFINITY);
    std::fill_n(face.get(), size_t(end - begin) * stride, -1);
  }
  const int32_t* ids(int row) const { return face.get() + size_t(row - row_begin) * stride; }
};

// Sets up faces [begin, end): forms, and pieces in face order.
void set_up_faces(const float* positions, const int32_t* faces, int64_t begin, int64_t end, int height, int width,
                  FaceForm* forms, std::vector<DrawnPiece>& pieces);
void set_up_faces(const double* positions, const int32_t* faces, int64_t begin, int64_t end, int height, int width,
                  FaceForm* forms, std::vector<DrawnPiece>& pieces);

// Draws pieces, in this order, into the band. Depths are compared after rounding to float; the first of equals wins.
void draw_pieces(const DrawnPiece* const* pieces, int64_t count, BandBuffer& band);

// What is known of one image's mesh before drawing. Its memory is kept for the thread's next mesh: fresh pages cost more
// than the arithmetic.
class MeshSetup {
 public:
  int height, width;

  template <typename scalar_t>
  MeshSetup(const scalar_t* positions, const FaceList& faces, int64_t batch, int height_px, int width_px)
      : height(height_px), width(width_px), memory_(thread_memory()) {
    const int64_t chunk_count = (faces.count + kSetupChunk - 1) / kSetupChunk;
    if (int64_t(memory_.forms.size()) < faces.count) memory_.forms.resize(faces.count);
    if (int64_t(memory_.chunks.size()) < chunk_count) memory_.chunks.resize(chunk_count);
    for_each_task(chunk_count, [&](int64_t chunk) {
      std::vector<DrawnPiece>& pieces = memory_.chunks[chunk];
      pieces.clear();
      const int64_t end = std::min<int64_t>(faces.count, (chunk + 1) * kSetupChunk);
      set_up_faces(positions, faces.of(batch, 0), chunk * kSetupChunk, end, height, width, memory_.forms.data(), pieces);
    });
    sort_into_bands(chunk_count);
  }

  int64_t band_count() const { return (height + kBandRows - 1) / kBandRows; }

  const FaceForm* forms() const { return memory_.forms.data(); }

  BandBuffer draw_band(int64_t band) const {
    BandBuffer buffer(int(band) * kBandRows, std::min(height, int(band + 1) * kBandRows), width);
    const int64_t first = memory_.band_first[band];
    draw_pieces(memory_.chosen.data() + first, memory_.band_first[band + 1] - first, buffer);
    return buffer;
  }

 private:
  struct Memory {
    std::vector<FaceForm> forms;                  // one per face
    std::vector<std::vector<DrawnPiece>> chunks;  // in face order
    std::vector<const DrawnPiece*> chosen;        // for band 0, for band 1, ...
    std::vector<int64_t> band_first, band_next;   // where each band's begin; scratch
  };
  Memory& memory_;

  static Memory& thread_memory() {
    thread_local Memory memory;
    return memory;
  }

  // Calls visit(piece, band) for all, in face order.
  template <typename F>
  void for_each_band(int64_t chunk_count, const F& visit) const {
    for (int64_t chunk = 0; chunk < chunk_count; ++chunk)
      for (const DrawnPiece& drawn : memory_.chunks[chunk])
        for (int band = drawn.piece.row_min / kBandRows; band <= drawn.piece.row_max / kBandRows; ++band)
          visit(drawn, band);
  }

  void sort_into_bands(int64_t chunk_count) {
    std::vector<int64_t>&first = memory_.band_first, &next = memory_.band_next;
    first.assign(band_count() + 1, 0);
    for_each_band(chunk_count, [&](const DrawnPiece&, int band) { ++first[band + 1]; });
    for (int64_t band = 0; band < band_count(); ++band) first[band + 1] += first[band];
    next = first;
    memory_.chosen.resize(first.back());
    for_each_band(chunk_count, [&](const DrawnPiece& drawn, int band) { memory_.chosen[next[band]++] = &drawn; });
  }
};

template <typename scalar_t>
struct RasterOutput {
  int32_t* face_id;
  scalar_t* barycentrics;
  scalar_t* depth;
  scalar_t* derivatives;  // may be null

  RasterOutput at(int64_t pixel) const {
    return {face_id + pixel, barycentrics + 2 * pixel, depth + pixel, derivatives ? derivatives + 4 * pixel : nullptr};
  }
};

// Barycentrics and depth of one row's faces.
void resolve_row(const FaceForm* forms, const int32_t* ids, int row, int width, const RasterOutput<float>& out);
void resolve_row(const FaceForm* forms, const int32_t* ids, int row, int width, const RasterOutput<double>& out);

// What the pixels of one face add up to in the backward pass.
struct FaceMoments {
  double barycentric[3][3] = {};  // b_j (g - (g . b) 1)_k, see position_gradient()
  double depth[3][2] = {};        // d depth / d (z, w) of corner j
  bool seen = false;

  // b: barycentrics, g: gradient to them.
  OPS_INLINE void add(const double b[3], const double g[3]) {
    const double mean = g[0] * b[0] + g[1] * b[1] + g[2] * b[2];
    for (int j = 0; j < 3; ++j)
      for (int k = 0; k < 3; ++k) barycentric[j][k] += b[j] * (g[k] - mean);
  }

  // What a run of its pixels adds up to.
  void add(const FaceMoments& run) {
    seen = true;
    for (int j = 0; j < 3; ++j) {
      for (int k = 0; k < 3; ++k) barycentric[j][k] += run.barycentric[j][k];
      for (int k = 0; k < 2; ++k) depth[j][k] += run.depth[j][k];
    }
  }

  // depth = sum b z / sum b w: adds to g, and to the sums for z and w.
  OPS_INLINE void add_depth(const double b[3], double grad_depth, const double z[3], const double w[3], double g[3]) {
    const double at_z = b[0] * z[0] + b[1] * z[1] + b[2] * z[2], at_w = b[0] * w[0] + b[1] * w[1] + b[2] * w[2];
    for (int k = 0; k < 3; ++k) {
      depth[k][0] += grad_depth * b[k] / at_w;
      depth[k][1] -= grad_depth * b[k] * at_z / (at_w * at_w);
      g[k] += grad_depth * (z[k] - at_z / at_w * w[k]) / at_w;
    }
  }
};

// Calls visit(first pixel, end pixel, face) for every run of pixels of one face in a row. Faces are dealt to tasks in
// blocks; a task walks the image in order and visits the runs of its own faces, so that whatever is summed per face is
// summed in raster order.
template <typename F>
void for_each_run(const int32_t* face_id, int height, int width, const F& visit) {
  int parts = 1;
  while (parts < int(torch::stable::get_num_threads())) parts *= 2;
  for_each_task(parts, [&](int64_t part) {
    for (int64_t row = 0; row < height; ++row) {
      const int64_t end = (row + 1) * width;
      for (int64_t i = row * width; i < end;) {
        const int32_t face = face_id[i];
        int64_t run_end = i + 1;
        while (run_end < end && face_id[run_end] == face) ++run_end;
        if (face >= 0 && ((face >> 5) & (parts - 1)) == part) visit(i, run_end, face);
        i = run_end;
      }
    }
  });
}

template <typename scalar_t>
void scatter_moments(const std::vector<FaceMoments>& moments, const scalar_t* positions, const FaceList& faces,
                     int64_t batch, int height, int width, scalar_t* grad_positions) {
  for (int64_t face = 0; face < faces.count; ++face) {
    if (!moments[face].seen) continue;
    const int32_t* vertex = faces.of(batch, face);
    Corner corners[3];
    for (int k = 0; k < 3; ++k) corners[k] = corner_from_clip(positions + 4 * int64_t(vertex[k]), height, width);
    double gradient[3][4] = {};
    position_gradient(corners, moments[face].barycentric, height, width, gradient);
    for (int k = 0; k < 3; ++k) {
      scalar_t* target = grad_positions + 4 * int64_t(vertex[k]);
      target[0] += scalar_t(gradient[k][0]);
      target[1] += scalar_t(gradient[k][1]);
      target[2] += scalar_t(moments[face].depth[k][0]);
      target[3] += scalar_t(gradient[k][3] + moments[face].depth[k][1]);
    }
  }
}

}  // namespace ops
