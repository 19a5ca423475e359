//! Owns the way from the framework's tensors to arrays of a GPU and back, without copies where the memory is contiguous.
//! Knows the framework's storage; knows no mathematics.

use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeDevice;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_dispatch::{BackendTensor, DispatchTensor, DispatchTensorKind};
use cube::Array;
use cubecl::ir::{ElemType, FloatKind};

use super::uploads;

/// A tensor as an array, and where it lives.
#[derive(Clone)]
pub(super) struct Values {
    /// The values.
    pub(super) array: Array,
    device: CubeDevice,
}

impl Values {
    /// Shares the memory of a contiguous tensor; copies one that is not. All but the last dimension become rows.
    pub(super) fn read<const D: usize>(tensor: &Tensor<D>) -> Self {
        let dims = tensor.dims();
        let columns = dims.last().copied().unwrap_or(1);
        let rows = dims.iter().product::<usize>() / columns.max(1);
        let CubeTensor { client, handle, device, dtype, .. } = into_contiguous(primitive(tensor.clone()));
        Values { array: Array { client, handle, shape: [rows, columns], dtype: element(dtype) }, device }
    }

    /// Numbers on the same device. The name tells lists apart that are asked for again and again.
    pub(super) fn upload(&self, name: &'static str, values: &[u32]) -> Array {
        uploads::upload(&self.device, name, values, |values| Array::from_u32(&self.array.client, values))
    }

    /// An array of the same device as a tensor.
    pub(super) fn tensor<const D: usize>(&self, array: Array, shape: [usize; D]) -> Tensor<D> {
        let Array { client, handle, dtype, .. } = array;
        let mut strides = [1; D];
        for axis in (0..D.saturating_sub(1)).rev() {
            strides[axis] = strides[axis + 1] * shape[axis + 1];
        }
        let meta = burn_std::Metadata::new(Shape::from(shape), burn_std::Strides::new(&strides));
        let tensor = CubeTensor::new(client, handle, meta, self.device.clone(), format(dtype));
        Tensor::from_dispatch(DispatchTensor {
            kind: DispatchTensorKind::Cube(BackendTensor::Float(tensor)),
            autodiff: Default::default(),
        })
    }

    /// An array of two dimensions as a tensor of the same device.
    pub(super) fn matrix(&self, array: Array) -> Tensor<2> {
        let shape = array.shape;
        self.tensor(array, shape)
    }
}

/// How a format of the framework is called by kernels.
pub(super) fn element(dtype: DType) -> ElemType {
    ElemType::Float(match dtype {
        DType::F16 => FloatKind::F16,
        DType::BF16 => FloatKind::BF16,
        _ => FloatKind::F32,
    })
}

fn format(dtype: ElemType) -> DType {
    match dtype {
        ElemType::Float(FloatKind::F16) => DType::F16,
        ElemType::Float(FloatKind::BF16) => DType::BF16,
        _ => DType::F32,
    }
}

#[expect(clippy::panic, reason = "tensors of another backend never reach the kernels of this one")]
fn primitive<const D: usize>(tensor: Tensor<D>) -> CubeTensor {
    match tensor.into_dispatch().kind {
        DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => tensor,
        _ => panic!("the kernels of GPUs take float tensors of a GPU"),
    }
}
