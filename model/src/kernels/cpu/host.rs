//! Owns the way from tensors to slices and back on the CPU device, without copies where the framework allows it.
//! Knows the framework's storage; knows no mathematics.

use burn::tensor::{Bytes, DType, Shape, Tensor};
use burn_dispatch::{BackendTensor, DispatchTensor, DispatchTensorKind};
use burn_flex::{FlexTensor, Layout};

/// A tensor whose values can be read as one slice.
pub(super) struct Host(FlexTensor);

impl Host {
    /// Shares the storage of a contiguous tensor; copies one that is not.
    pub(super) fn read<const D: usize>(tensor: &Tensor<D>) -> Self {
        Host(contiguous(primitive(tensor.clone())))
    }

    /// All values in row-major order.
    pub(super) fn values(&self) -> &[f32] {
        self.0.as_slice::<f32>().unwrap_or_default()
    }
}

/// A tensor whose values can be changed in place when nobody else holds them.
pub(super) struct HostMut(FlexTensor);

impl HostMut {
    /// Takes the storage; copies it if it is shared or strided.
    pub(super) fn take<const D: usize>(tensor: Tensor<D>) -> Self {
        let mut tensor = primitive(tensor);
        let whole = tensor.layout().num_elements() * size_of::<f32>() == tensor.bytes().len();
        if !(tensor.is_contiguous() && tensor.layout().start_offset() == 0 && whole) {
            let shape = tensor.layout().shape().clone();
            let values = contiguous(tensor).as_slice::<f32>().unwrap_or_default().to_vec();
            tensor = FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32);
        }
        HostMut(tensor)
    }

    /// All values in row-major order.
    pub(super) fn values(&mut self) -> &mut [f32] {
        self.0.storage_mut::<f32>()
    }

    /// Back to a tensor of the same shape.
    pub(super) fn tensor<const D: usize>(self) -> Tensor<D> {
        wrap(self.0)
    }
}

/// A tensor around values that were computed here.
pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    wrap(FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape)), DType::F32))
}

fn wrap<const D: usize>(tensor: FlexTensor) -> Tensor<D> {
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::Flex(BackendTensor::Float(tensor)),
        autodiff: Default::default(),
    })
}

#[expect(clippy::panic, reason = "a tensor of another device or type in a CPU kernel is a defect of the engine")]
fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    match tensor.into_dispatch().kind {
        DispatchTensorKind::Flex(BackendTensor::Float(tensor)) if tensor.dtype() == DType::F32 => tensor,
        _ => panic!("CPU kernels take f32 tensors of the CPU device"),
    }
}

fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}
