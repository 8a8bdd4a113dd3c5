//! What all networks share: ONNX weight import and model files.
