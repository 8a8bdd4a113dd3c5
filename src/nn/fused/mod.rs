//! Networks in their inference form: a list of fused layers over feature maps that are made once and reused from
//! frame to frame. Batch norms are folded into the convolutions before them, weights are packed for the CPU's vector
//! width (found at run time), a depthwise convolution hands its rows to the 1×1 convolution after it while they
//! are still in cache, and so does each layer to the next where maps are large.
//!
//! The trainable form of every network is the definition; a test holds both together.

mod buffer;
mod dense;
mod depthwise;
mod fold;
mod net;
mod plan;
mod pointwise;
mod whole;

pub use buffer::{Buffer, LINE, Map};
pub use dense::Dense;
pub use depthwise::Depthwise;
pub use fold::{Folded, dense, fold};
pub use net::Net;
pub use plan::{MapId, Plan, Shape, Step};
pub use pointwise::Packed;
pub use whole::{Gate, Global};
