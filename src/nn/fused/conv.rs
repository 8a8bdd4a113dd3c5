//! Dense 3×3 convolution on a map of any depth: the neighbourhoods of one output row gathered side by side, then the
//! matrix product of the 1×1 convolutions.

use std::sync::Arc;

use super::buffer::{Buffer, Map};
use super::gemm::{Packed, RowAt};
use super::layers::Folded;
use super::{MapId, Net, Step};

impl Net {
    /// Appends a dense 3×3 convolution of stride 1.
    pub fn conv3(&mut self, from: MapId, weights: &Folded) -> MapId {
        let map = &self.maps[from.0];
        let (height, width) = (map.height, map.width);
        let to = self.make(height, width, weights.spec.cout);
        self.reserve_tile(width * weights.packed.k, width);
        self.steps.push(Step::Conv3 { from: from.0, to: to.0, weights: Arc::clone(&weights.packed) });
        to
    }
}

pub(super) fn run(from: &Map, to: &mut Map, weights: &Packed, tile: &mut Buffer, rows: &mut Vec<RowAt>) {
    let (input, channels) = (from.buffer.values(), from.channels);
    for y in 0..to.height {
        rows.clear();
        for x in 0..to.width {
            let gathered = &mut tile.values_mut()[x * weights.k..][..weights.k];
            for (tap, values) in gathered.chunks_exact_mut(channels).enumerate() {
                // The frame around a map stands for the rim, so output (x, y) begins at frame pixel (x, y).
                let at = (y + tap / 3) * from.row() + (x + tap % 3) * from.pixel;
                values.copy_from_slice(&input[at..][..channels]);
            }
            rows.push(RowAt { input: x * weights.k, output: to.at(x, y) });
        }
        weights.run(tile.values(), to.buffer.values_mut(), None, rows);
    }
}
