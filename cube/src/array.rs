//! Owns an array of a device: a buffer, its two dimensions and its number format. Knows no operation.

use cubecl::client::Client;
use cubecl::ir::ElemType;
use cubecl::prelude::*;
use cubecl::server::Handle;

/// A contiguous row-major array of a device. What has one dimension has one row.
#[derive(Clone)]
pub struct Array {
    /// The queue of the device.
    pub client: Client,
    /// Where the values lie.
    pub handle: Handle,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// How a value is stored.
    pub dtype: ElemType,
}

impl Array {
    /// An array with whatever values the memory holds.
    #[must_use]
    pub fn empty(client: &Client, shape: [usize; 2], dtype: ElemType) -> Self {
        let handle = client.empty(shape[0] * shape[1] * dtype.size());
        Array { client: client.clone(), handle, shape, dtype }
    }

    /// An array like this one, with other values.
    #[must_use]
    pub fn like(&self) -> Self {
        Array::empty(&self.client, self.shape, self.dtype)
    }

    /// An array of f32 values.
    #[must_use]
    pub fn from_f32(client: &Client, shape: [usize; 2], values: &[f32]) -> Self {
        let handle = client.create_from_slice(bytemuck::cast_slice(values));
        Array { client: client.clone(), handle, shape, dtype: f32::elem_type_native() }
    }

    /// An array of u32 values.
    #[must_use]
    pub fn from_u32(client: &Client, values: &[u32]) -> Self {
        let handle = client.create_from_slice(bytemuck::cast_slice(values));
        Array { client: client.clone(), handle, shape: [1, values.len()], dtype: u32::elem_type_native() }
    }

    /// Number of values.
    #[must_use]
    pub fn length(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// As an argument of a kernel.
    #[must_use]
    pub fn arg(&self) -> BufferArg {
        self.vectors(1)
    }

    /// As an argument of a kernel that does not read it, where one of another format must stand.
    #[must_use]
    pub fn arg_as(&self, dtype: ElemType) -> BufferArg {
        // SAFETY: the length is that of the buffer's bytes in the other format.
        #[allow(unsafe_code)]
        unsafe {
            BufferArg::from_raw_parts(self.handle.clone(), self.length() * self.dtype.size() / dtype.size())
        }
    }

    /// As an argument of a kernel that reads `width` values at once.
    #[must_use]
    pub fn vectors(&self, width: usize) -> BufferArg {
        // SAFETY: an array is made with a buffer of its length.
        #[allow(unsafe_code)]
        unsafe {
            BufferArg::from_raw_parts(self.handle.clone(), self.length() / width)
        }
    }
}
