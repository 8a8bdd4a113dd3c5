//! Reading weights out of ONNX files, once, at import.
//!
//! Only what weight import needs is read: the graph's nodes and its constants. Weights stored as integers behind
//! `DequantizeLinear` (per tensor, per axis, or in blocks along an axis, opset 21) are expanded to `f32`. Nothing is
//! executed: an architecture walks the graph from its outputs back to its input ([`Walk`]), checks every layer on
//! the way, and takes the weights; a graph of another network is therefore refused and never half-imported.

use std::collections::{BTreeMap, HashMap};

use prost::Message;

/// Why an ONNX file was refused.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// Not an ONNX file, or cut short.
    #[error("not a readable ONNX file (damaged, cut short, or something else altogether)")]
    Parse(#[source] prost::DecodeError),
    /// Readable as ONNX, but with nothing in it.
    #[error("no network in this file (empty, or not an ONNX file)")]
    NoGraph,
    /// Readable, but with contents that contradict themselves.
    #[error("ONNX tensor {name:?}: {what}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A graph of another network.
    #[error("this is not {architecture}: {what}")]
    OtherNetwork {
        /// The architecture that was tried.
        architecture: &'static str,
        /// Where the graph differs.
        what: String,
    },
}

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, tag = "2")]
    f: f32,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(message, optional, tag = "5")]
    t: Option<TensorProto>,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    int32_data: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
    #[prost(double, repeated, tag = "10")]
    double_data: Vec<f64>,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

/// The numbers of `TensorProto.DataType` that weights come in.
mod dtype {
    pub const FLOAT: i32 = 1;
    pub const UINT8: i32 = 2;
    pub const INT8: i32 = 3;
    pub const INT32: i32 = 6;
    pub const INT64: i32 = 7;
    pub const DOUBLE: i32 = 11;
}

/// Greatest number of values in one tensor: four times that of the largest layer of the networks known.
const MAX_VALUES: usize = 1 << 26;

/// A constant of the graph, row-major. Integers are held as `f32` (exact up to 2²⁴; shapes and 8-bit weights are).
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

/// A parsed graph: nodes by the value they produce, and all constants expanded to `f32`.
#[derive(Debug)]
pub struct Graph {
    producer: HashMap<String, NodeProto>,
    constants: HashMap<String, Constant>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Graph {
    /// Parses an ONNX file.
    ///
    /// # Errors
    /// When it is not one, or a tensor in it contradicts itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, OnnxError> {
        let model = ModelProto::decode(bytes).map_err(OnnxError::Parse)?;
        let graph = model.graph.filter(|g| !g.node.is_empty()).ok_or(OnnxError::NoGraph)?;
        let mut constants = HashMap::new();
        for tensor in &graph.initializer {
            constants.insert(tensor.name.clone(), constant(tensor)?);
        }
        let inputs = graph.input.into_iter().map(|v| v.name).filter(|n| !constants.contains_key(n)).collect();
        let outputs = graph.output.into_iter().map(|v| v.name).collect();
        let mut producer = HashMap::new();
        for node in graph.node {
            match fold(&node, &constants)? {
                Some(value) => {
                    constants.insert(node.output[0].clone(), value);
                }
                None => {
                    for output in &node.output {
                        producer.insert(output.clone(), node.clone());
                    }
                }
            }
        }
        Ok(Self { producer, constants, inputs, outputs })
    }

    /// Names of the graph's outputs.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }
}

/// Computes a node whose inputs are all constant, for the few kinds that exporters put before weights.
fn fold(node: &NodeProto, constants: &HashMap<String, Constant>) -> Result<Option<Constant>, OnnxError> {
    let known: Option<Vec<&Constant>> = node.input.iter().map(|n| constants.get(n)).collect();
    let (Some(known), Some(name)) = (known, node.output.first()) else { return Ok(None) };
    let fail = |what: String| OnnxError::Tensor { name: name.clone(), what };
    match (node.op_type.as_str(), known.as_slice()) {
        ("Constant", []) => node
            .attribute
            .iter()
            .find(|a| a.name == "value")
            .and_then(|a| a.t.as_ref())
            .map(constant)
            .transpose(),
        ("Identity", [x]) => Ok(Some((*x).clone())),
        ("Reshape", [x, shape]) => reshape(x, shape).map(Some).map_err(fail),
        ("DequantizeLinear", [x, scale]) => dequantise(node, x, scale, None).map(Some).map_err(fail),
        ("DequantizeLinear", [x, scale, zero]) => {
            dequantise(node, x, scale, Some(zero)).map(Some).map_err(fail)
        }
        _ => Ok(None),
    }
}

/// How many values a shape has; `None` when there is no such number.
fn count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim))
}

fn reshape(x: &Constant, shape: &Constant) -> Result<Constant, String> {
    let mut dims: Vec<usize> = Vec::new();
    let mut free = None;
    for (i, &d) in shape.values.iter().enumerate() {
        dims.push(match d as i64 {
            -1 if free.is_none() => {
                free = Some(i);
                1
            }
            0 => *x.shape.get(i).ok_or("reshape keeps a dimension that is not there")?,
            d if d > 0 => d as usize,
            d => return Err(format!("reshape to a dimension of {d}")),
        });
    }
    if let Some(i) = free {
        dims[i] = x.values.len() / count(&dims).unwrap_or(usize::MAX).max(1);
    }
    if count(&dims) != Some(x.values.len()) {
        return Err(format!("{} values do not fit the shape {dims:?}", x.values.len()));
    }
    Ok(Constant { shape: dims, values: x.values.clone() })
}

/// `(x − zero) · scale`; scale and zero are one value, one per index of `axis`, or one per block along `axis`.
fn dequantise(
    node: &NodeProto,
    x: &Constant,
    scale: &Constant,
    zero: Option<&Constant>,
) -> Result<Constant, String> {
    let attr =
        |name: &str, default: i64| node.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.i);
    let block = attr("block_size", 0).max(0) as usize;
    let axis = attr("axis", 1);
    // An axis that is not there is as good as one of a single index.
    let axis =
        usize::try_from(if axis < 0 { axis + x.shape.len() as i64 } else { axis }).unwrap_or(usize::MAX);
    if zero.is_some_and(|z| z.values.len() != scale.values.len()) {
        return Err("scale and zero point differ in size".into());
    }
    let within = axis.checked_add(1).and_then(|next| x.shape.get(next..)).unwrap_or_default();
    let inner = count(within).ok_or("its shape is too large")?;
    let along = x.shape.get(axis).copied().unwrap_or(1);
    let index: Box<dyn Fn(usize) -> usize> = match (scale.values.len(), block) {
        (1, _) => Box::new(|_| 0),
        (_, 0) => Box::new(move |i| i / inner % along),
        _ => {
            let blocks = along.div_ceil(block);
            Box::new(move |i| {
                let (outer, a, rest) = (i / (inner * along), i / inner % along, i % inner);
                (outer * blocks + a / block) * inner + rest
            })
        }
    };
    let expected = match (scale.values.len(), block) {
        (1, _) => 1,
        (_, 0) => along,
        _ => x.values.len() / along.max(1) * along.div_ceil(block),
    };
    if scale.values.len() != expected {
        return Err(format!("{} scales where {expected} are needed", scale.values.len()));
    }
    let values = x.values.iter().enumerate().map(|(i, q)| {
        let at = index(i);
        (q - zero.map_or(0.0, |z| z.values[at])) * scale.values[at]
    });
    Ok(Constant { shape: x.shape.clone(), values: values.collect() })
}

fn constant(tensor: &TensorProto) -> Result<Constant, OnnxError> {
    let fail = |what: String| OnnxError::Tensor { name: tensor.name.clone(), what };
    let mut count = 1_usize;
    for &d in &tensor.dims {
        let d = usize::try_from(d).map_err(|_| fail(format!("a dimension of {d}")))?;
        count = count.checked_mul(d).filter(|&c| c <= MAX_VALUES).ok_or_else(|| fail("too large".into()))?;
    }
    if tensor.data_location != 0 {
        return Err(fail("kept in another file; export the model as one file".into()));
    }
    let raw = &tensor.raw_data;
    let chunks = |size| raw.chunks_exact(size);
    let values: Vec<f32> = match tensor.data_type {
        dtype::FLOAT if raw.is_empty() => tensor.float_data.clone(),
        dtype::FLOAT => chunks(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect(),
        dtype::DOUBLE if raw.is_empty() => tensor.double_data.iter().map(|&v| v as f32).collect(),
        dtype::DOUBLE => {
            chunks(8).map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes")) as f32).collect()
        }
        dtype::INT64 if raw.is_empty() => tensor.int64_data.iter().map(|&v| v as f32).collect(),
        dtype::INT64 => {
            chunks(8).map(|b| i64::from_le_bytes(b.try_into().expect("8 bytes")) as f32).collect()
        }
        dtype::INT32 | dtype::INT8 | dtype::UINT8 if raw.is_empty() => {
            tensor.int32_data.iter().map(|&v| v as f32).collect()
        }
        dtype::INT32 => {
            chunks(4).map(|b| i32::from_le_bytes(b.try_into().expect("4 bytes")) as f32).collect()
        }
        dtype::INT8 => raw.iter().map(|&b| f32::from(b as i8)).collect(),
        dtype::UINT8 => raw.iter().map(|&b| f32::from(b)).collect(),
        other => return Err(fail(format!("values of ONNX type {other}, which accessd does not read"))),
    };
    if values.len() != count {
        return Err(fail(format!("{} values where the shape {:?} needs {count}", values.len(), tensor.dims)));
    }
    Ok(Constant { shape: tensor.dims.iter().map(|&d| d as usize).collect(), values })
}

/// One convolution as an architecture expects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSpec {
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Zeros around the input.
    pub pad: usize,
    /// Groups; `cin` for a depthwise convolution.
    pub groups: usize,
}

impl ConvSpec {
    /// A dense 3×3 convolution.
    pub const fn dense3(cin: usize, cout: usize, stride: usize) -> Self {
        Self { cin, cout, kernel: 3, stride, pad: 1, groups: 1 }
    }

    /// A depthwise 3×3 convolution.
    pub const fn depthwise3(channels: usize, stride: usize) -> Self {
        Self { cin: channels, cout: channels, kernel: 3, stride, pad: 1, groups: channels }
    }

    /// A 1×1 convolution.
    pub const fn pointwise(cin: usize, cout: usize) -> Self {
        Self { cin, cout, kernel: 1, stride: 1, pad: 0, groups: 1 }
    }
}

/// Weights under the names the architecture gives them.
pub type Weights = BTreeMap<String, Constant>;

/// What an encoder's graph holds.
#[derive(Debug)]
pub struct Imported {
    /// Its weights.
    pub weights: Weights,
    /// Input normalisation `(mean, scale)`, when the graph does it itself.
    pub norm: Option<(f32, f32)>,
}

/// A walk through a graph from an output back to the input, taking the weights on the way.
pub struct Walk<'g> {
    graph: &'g Graph,
    architecture: &'static str,
    /// The weights taken so far.
    pub weights: Weights,
}

/// A value of the graph, by name.
pub type Value = String;

impl<'g> Walk<'g> {
    /// Starts a walk on behalf of `architecture`.
    pub fn new(graph: &'g Graph, architecture: &'static str) -> Self {
        Self { graph, architecture, weights: Weights::new() }
    }

    /// The error that says where the graph differs.
    pub fn other(&self, what: String) -> OnnxError {
        OnnxError::OtherNetwork { architecture: self.architecture, what }
    }

    fn refuse<T>(&self, what: String) -> Result<T, OnnxError> {
        Err(self.other(what))
    }

    /// The graph's only output.
    ///
    /// # Errors
    /// When it has several.
    pub fn output(&self) -> Result<Value, OnnxError> {
        match self.graph.outputs.as_slice() {
            [one] => Ok(one.clone()),
            more => self.refuse(format!("it has {} outputs", more.len())),
        }
    }

    /// Checks that the walk arrived at an input of the graph. (Exporters leave inputs behind that nothing reads.)
    ///
    /// # Errors
    /// When it is elsewhere.
    pub fn arrived(&self, value: &Value) -> Result<(), OnnxError> {
        if self.graph.inputs.contains(value) {
            return Ok(());
        }
        self.refuse(format!("the walk back ends at {value:?}, which is not an input"))
    }

    /// Whether `value` comes out of a node of this kind.
    pub fn comes_from(&self, value: &Value, op: &str) -> bool {
        self.graph.producer.get(value).is_some_and(|n| n.op_type == op)
    }

    fn node(&self, value: &Value, op: &str) -> Result<&'g NodeProto, OnnxError> {
        match self.graph.producer.get(value) {
            Some(node) if node.op_type == op => Ok(node),
            Some(node) => self.refuse(format!("{value:?} comes from {}, not {op}", node.op_type)),
            None => self.refuse(format!("{value:?} is an input, where {op} should be")),
        }
    }

    /// Steps back over a node without weights; returns its first input.
    ///
    /// # Errors
    /// When another node is there.
    pub fn step(&self, value: &Value, op: &str) -> Result<Value, OnnxError> {
        match self.node(value, op)?.input.first() {
            Some(input) => Ok(input.clone()),
            None => self.refuse(format!("{op} without input")),
        }
    }

    /// Steps back over nodes of these kinds for as long as they come.
    pub fn skip(&self, mut value: Value, ops: &[&str]) -> Value {
        while let Some(node) = self.graph.producer.get(&value).filter(|n| ops.contains(&n.op_type.as_str())) {
            match node.input.first() {
                Some(input) => value = input.clone(),
                None => break,
            }
        }
        value
    }

    /// Both inputs of an `Add` or `Mul` of two computed values.
    ///
    /// # Errors
    /// When another node is there.
    pub fn both(&self, value: &Value, op: &str) -> Result<(Value, Value), OnnxError> {
        match self.node(value, op)?.input.as_slice() {
            [a, b] => Ok((a.clone(), b.clone())),
            more => self.refuse(format!("{op} of {} values", more.len())),
        }
    }

    /// A scalar `Sub` or `Mul` (or the like) with a constant: returns the input and the constant.
    ///
    /// # Errors
    /// When another node is there, or the constant is no scalar.
    pub fn scalar(&self, value: &Value, op: &str) -> Result<(Value, f32), OnnxError> {
        let node = self.node(value, op)?;
        match node.input.as_slice() {
            [x, c] => match self.graph.constants.get(c).map(|c| c.values.as_slice()) {
                Some([c]) => Ok((x.clone(), *c)),
                _ => self.refuse(format!("{op} with something that is not a scalar")),
            },
            _ => self.refuse(format!("{op} without two inputs")),
        }
    }

    fn constant(&self, name: &str, shape: &[usize]) -> Result<Constant, OnnxError> {
        match self.graph.constants.get(name) {
            Some(c) if c.shape == shape => Ok(c.clone()),
            // PReLU slopes come as [c] or [c,1,1], biases sometimes as [1,c]: same values in the same order.
            Some(c) if c.values.len() == shape.iter().product::<usize>() && shape.len() == 1 => {
                Ok(Constant { shape: shape.to_vec(), values: c.values.clone() })
            }
            Some(c) => self.refuse(format!("{name:?} is {:?}, not {shape:?}", c.shape)),
            None => self.refuse(format!("{name:?} is not a constant")),
        }
    }

    /// Takes `NAME.weight` and, when there is one, `NAME.bias` of a convolution.
    ///
    /// # Errors
    /// When another node is there or the convolution is of another shape.
    pub fn conv(&mut self, value: &Value, name: &str, spec: ConvSpec) -> Result<Value, OnnxError> {
        let node = self.node(value, "Conv")?;
        let ints = |key: &str, default: i64, n: usize| {
            let attr = node.attribute.iter().find(|a| a.name == key).map(|a| a.ints.clone());
            attr.unwrap_or_else(|| vec![default; n])
        };
        let groups = node.attribute.iter().find(|a| a.name == "group").map_or(1, |a| a.i);
        let all = |values: &[i64], v: usize| values.iter().all(|&x| x == v as i64);
        if !(all(&ints("strides", 1, 2), spec.stride)
            && all(&ints("pads", 0, 4), spec.pad)
            && all(&ints("dilations", 1, 2), 1)
            && groups == spec.groups as i64)
        {
            return self.refuse(format!("convolution {name} has another stride, padding or grouping"));
        }
        let Some([x, weight]) = node.input.first_chunk::<2>() else {
            return self.refuse(format!("convolution {name} without weight"));
        };
        let weight = self.constant(weight, &[spec.cout, spec.cin / spec.groups, spec.kernel, spec.kernel])?;
        self.weights.insert(format!("{name}.weight"), weight);
        if let Some(bias) = node.input.get(2).filter(|b| !b.is_empty()) {
            self.weights.insert(format!("{name}.bias"), self.constant(bias, &[spec.cout])?);
        }
        Ok(x.clone())
    }

    /// Takes the slopes `NAME.weight` of a PReLU.
    ///
    /// # Errors
    /// When another node is there.
    pub fn prelu(&mut self, value: &Value, name: &str, channels: usize) -> Result<Value, OnnxError> {
        let node = self.node(value, "PRelu")?;
        let Some([x, slope]) = node.input.first_chunk::<2>() else {
            return self.refuse(format!("PReLU {name} without slopes"));
        };
        self.weights.insert(format!("{name}.weight"), self.constant(slope, &[channels])?);
        Ok(x.clone())
    }

    /// Takes a batch norm as `NAME.{weight,bias,running_mean,running_var}`, its epsilon brought to [`BN_EPS`] by
    /// shifting the variance, so that one epsilon serves all.
    ///
    /// # Errors
    /// When another node is there.
    pub fn batch_norm(&mut self, value: &Value, name: &str, channels: usize) -> Result<Value, OnnxError> {
        let node = self.node(value, "BatchNormalization")?;
        let eps = node.attribute.iter().find(|a| a.name == "epsilon").map_or(1e-5, |a| a.f);
        let [x, rest @ ..] = node.input.as_slice() else {
            return self.refuse(format!("batch norm {name} without input"));
        };
        for (key, constant) in ["weight", "bias", "running_mean", "running_var"].iter().zip(rest) {
            let mut constant = self.constant(constant, &[channels])?;
            if *key == "running_var" {
                constant.values.iter_mut().for_each(|v| *v += eps - BN_EPS);
            }
            self.weights.insert(format!("{name}.{key}"), constant);
        }
        Ok(x.clone())
    }

    /// Takes a fully connected layer as `NAME.weight` (outputs × inputs) and, when there is one, `NAME.bias`.
    ///
    /// # Errors
    /// When another node is there or its weight is not stored outputs first.
    pub fn gemm(
        &mut self,
        value: &Value,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Value, OnnxError> {
        let node = self.node(value, "Gemm")?;
        let attr = |key: &str, default: f32| {
            node.attribute
                .iter()
                .find(|a| a.name == key)
                .map_or(default, |a| if a.f == 0.0 { a.i as f32 } else { a.f })
        };
        if attr("alpha", 1.0) != 1.0
            || attr("beta", 1.0) != 1.0
            || attr("transA", 0.0) != 0.0
            || attr("transB", 0.0) != 1.0
        {
            return self
                .refuse(format!("fully connected layer {name} is scaled or transposed in an unknown way"));
        }
        let Some([x, weight]) = node.input.first_chunk::<2>() else {
            return self.refuse(format!("fully connected layer {name} without weight"));
        };
        self.weights.insert(format!("{name}.weight"), self.constant(weight, &[outputs, inputs])?);
        if let Some(bias) = node.input.get(2).filter(|b| !b.is_empty()) {
            self.weights.insert(format!("{name}.bias"), self.constant(bias, &[outputs])?);
        }
        Ok(x.clone())
    }
}

impl Walk<'_> {
    /// Takes a linear layer without bias, exported as `Gemm` or `MatMul`, as the 1×1 convolution `NAME.weight`.
    ///
    /// # Errors
    /// When another node is there or its weight is of another shape.
    pub fn linear(
        &mut self,
        value: &Value,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Value, OnnxError> {
        if self.comes_from(value, "Gemm") {
            let from = self.gemm(value, name, inputs, outputs)?;
            let key = format!("{name}.weight");
            self.weights.entry(key).and_modify(|w| w.shape = vec![outputs, inputs, 1, 1]);
            return Ok(from);
        }
        let node = self.node(value, "MatMul")?;
        let Some([x, weight]) = node.input.first_chunk::<2>() else {
            return self.refuse(format!("linear layer {name} without weight"));
        };
        let weight = self.constant(weight, &[inputs, outputs])?;
        let values =
            (0..inputs * outputs).map(|i| weight.values[i % inputs * outputs + i / inputs]).collect();
        let turned = Constant { shape: vec![outputs, inputs, 1, 1], values };
        self.weights.insert(format!("{name}.weight"), turned);
        Ok(x.clone())
    }
}

/// The epsilon under which all batch norms are stored and run.
pub const BN_EPS: f32 = 1e-5;

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(shape: &[usize], values: &[f32]) -> Constant {
        Constant { shape: shape.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn a_reshape_to_more_values_than_can_be_counted_is_refused() {
        let huge = constant(&[3], &[2.0_f32.powi(40), 2.0_f32.powi(40), 4.0]);
        assert!(reshape(&constant(&[4], &[0.0; 4]), &huge).unwrap_err().contains("4 values do not fit"));
        let free = constant(&[3], &[2.0_f32.powi(40), 2.0_f32.powi(40), -1.0]);
        assert!(reshape(&constant(&[4], &[0.0; 4]), &free).is_err());
        let kept = constant(&[2], &[-1.0, 2.0]);
        assert_eq!(reshape(&constant(&[4], &[0.0; 4]), &kept).unwrap().shape, [2, 2]);
    }

    #[test]
    fn scales_along_an_axis_that_is_not_there_are_refused() {
        let attribute = |i| AttributeProto { name: "axis".into(), i, ..AttributeProto::default() };
        for axis in [-1, -9, 7, i64::MIN, i64::MAX] {
            let node = NodeProto { attribute: vec![attribute(axis)], ..NodeProto::default() };
            let (one, two) = (constant(&[], &[2.0]), constant(&[2], &[2.0, 3.0]));
            assert_eq!(dequantise(&node, &one, &one, None).unwrap().values, [4.0], "{axis}");
            assert!(dequantise(&node, &one, &two, None).is_err(), "{axis}");
            let empty = constant(&[0, 1 << 40, 1 << 40], &[]);
            assert!(dequantise(&node, &empty, &two, None).is_err(), "{axis}");
        }
    }
}
