//! Memory of new tensors, in huge pages where they are large.
//!
//! The first write to a page of 4 KB costs more than filling it: of a supernet's larger kernels that was most of the time.
//! Linux gives pages of 2 MB to memory that asks for them (`madvise(2)`, `MADV_HUGEPAGE`), as NumPy's does; torch's
//! allocator asks only where the environment variable `THP_MEM_ALLOC_ENABLE` says so. Elsewhere nothing is asked and
//! nothing differs.

use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// A contiguous tensor on the CPU with whatever was there.
///
/// # Errors
/// [`Error::Tensor`](crate::error::Error::Tensor) if torch refuses.
pub fn empty(sizes: &[i64], kind: Kind) -> Result<Tensor> {
    let made = Tensor::f_empty(sizes, (kind, Device::Cpu))?;
    ask_for_huge_pages(&made);
    Ok(made)
}

/// A contiguous copy of a strided tensor, on its device.
///
/// # Errors
/// [`Error::Tensor`](crate::error::Error::Tensor) if torch refuses.
pub fn contiguous(tensor: &Tensor) -> Result<Tensor> {
    if tensor.device() != Device::Cpu {
        let mut made = Tensor::f_empty(tensor.size(), (tensor.f_kind()?, tensor.device()))?;
        made.f_copy_(tensor)?;
        return Ok(made);
    }
    let mut made = empty(&tensor.size(), tensor.f_kind()?)?;
    match read(tensor) {
        Some(bytes) => write(&mut made).copy_from_slice(bytes),
        None => made.f_copy_(tensor)?,
    }
    Ok(made)
}

#[cfg(target_os = "linux")]
fn ask_for_huge_pages(tensor: &Tensor) {
    const PAGE: usize = 4096;
    const HUGE: usize = 2 << 20;
    let start = (tensor.data_ptr() as usize).next_multiple_of(PAGE);
    let end = (tensor.data_ptr() as usize + bytes(tensor)) / PAGE * PAGE;
    if end >= start + 2 * HUGE {
        // SAFETY: whole pages of the tensor's own memory; the advice changes no content, and a kernel that does not know
        // it refuses, which is as good.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages(_: &Tensor) {}

fn bytes(tensor: &Tensor) -> usize {
    tensor.numel() * tensor.kind().elt_size_in_bytes()
}

/// The bytes of a tensor that is contiguous and on the CPU; else None.
pub(super) fn read(tensor: &Tensor) -> Option<&[u8]> {
    let plain = tensor.device() == Device::Cpu && !tensor.is_sparse() && tensor.is_contiguous();
    if !plain || tensor.is_neg() || tensor.is_conj() {
        return None;
    }
    let count = bytes(tensor);
    if count == 0 {
        return Some(&[]);
    }
    let start = tensor.data_ptr();
    if start.is_null() {
        return None; // a fake tensor, which says that it is on the CPU
    }
    // SAFETY: a contiguous tensor on the CPU has its elements one after the other from `data_ptr` on; they live as long
    // as the tensor. Who writes to a tensor that is being read has a race in torch as well.
    Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), count) })
}

/// The bytes of a tensor of [`empty`] that nobody else has.
pub(super) fn write(tensor: &mut Tensor) -> &mut [u8] {
    let count = bytes(tensor);
    if count == 0 {
        return &mut [];
    }
    // SAFETY: as in `read`; `empty` made the tensor, and the reference to it is the only one.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<u8>(), count) }
}
