//! CLBlast's SGEMM and HGEMM, the first with parameters of our own for each shape.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use clblast_sys as sys;
use cnn_core::Result;
use cnn_core::backend::Precision;
use half::f16;
use opencl3::command_queue::CommandQueue;
use opencl3::event::Event;
use opencl3::memory::ClMem;
use opencl3::types::{cl_device_id, cl_event};

use crate::buffer::Buffer;
use crate::device::unavailable;

/// The names of the parameters of its kernel `Xgemm`, in the order of [`Parameters`].
const NAMES: [&CStr; 16] = [
    c"GEMMK", c"KREG", c"KWG", c"KWI", c"MDIMA", c"MDIMC", c"MWG", c"NDIMB", c"NDIMC", c"NWG", c"SA", c"SB", c"STRM",
    c"STRN", c"VWM", c"VWN",
];

/// Values of [`NAMES`].
pub(crate) type Parameters = [usize; 16];

/// Products made so far in this process, for those who want to know whether CLBlast was really called.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// What CLBlast was told last. It has one set of parameters a device, so a product and what it is told go together.
static TOLD: Mutex<Option<(usize, Parameters)>> = Mutex::new(None);

/// Products that CLBlast has made in this process.
pub fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// `c = a x b^T`: a `[m, k]`, b `[n, k]`, c `[m, n]`, all row-major.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gemm {
    pub(crate) extents: [usize; 3],
    /// Where a, b and c begin in their buffers, in elements.
    pub(crate) offsets: [usize; 3],
    /// Of all three.
    pub(crate) precision: Precision,
    /// Nothing for CLBlast's own.
    pub(crate) parameters: Option<Parameters>,
}

impl Gemm {
    /// Puts the product into the queue.
    pub(crate) fn enqueue(&self, queue: &CommandQueue, device: cl_device_id, [a, b, c]: [&Buffer; 3]) -> Result<Event> {
        let ([m, n, k], [a_first, b_first, c_first]) = (self.extents, self.offsets);
        let fits = |buffer: &Buffer, first: usize, elements: usize| {
            assert!((first + elements) * self.precision.bytes() <= buffer.length() * size_of::<f32>());
        };
        fits(a, a_first, m * k);
        fits(b, b_first, n * k);
        fits(c, c_first, m * n);
        let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parameters) = self.parameters.filter(|&parameters| *told != Some((device as usize, parameters))) {
            *told = None;
            tell(device, &parameters)?;
            *told = Some((device as usize, parameters));
        }
        let mut queue = queue.get();
        let mut event: cl_event = ptr::null_mut();
        /// The call of one precision, with its one and zero.
        macro_rules! gemm {
            ($function:ident, $one:expr, $zero:expr) => {
                sys::$function(
                    sys::CLBlastLayout__CLBlastLayoutRowMajor,
                    sys::CLBlastTranspose__CLBlastTransposeNo,
                    sys::CLBlastTranspose__CLBlastTransposeYes,
                    m as _,
                    n as _,
                    k as _,
                    $one,
                    a.raw().get().cast(),
                    a_first as _,
                    k as _,
                    b.raw().get().cast(),
                    b_first as _,
                    k as _,
                    $zero,
                    c.raw().get().cast(),
                    c_first as _,
                    n as _,
                    (&raw mut queue).cast(),
                    (&raw mut event).cast(),
                )
            };
        }
        // SAFETY: the matrices lie inside their buffers, which the session keeps alive until the queue is done; the handles are
        // those of the same OpenCL library.
        let (name, status) = unsafe {
            match self.precision {
                Precision::Single => ("SGEMM", gemm!(CLBlastSgemm, 1.0, 0.0)),
                Precision::Half => ("HGEMM", gemm!(CLBlastHgemm, f16::ONE.to_bits(), f16::ZERO.to_bits())),
            }
        };
        check(name, status)?;
        CALLS.fetch_add(1, Ordering::Relaxed);
        Ok(Event::new(event))
    }
}

/// Replaces the parameters that CLBlast knows for the device.
fn tell(device: cl_device_id, parameters: &Parameters) -> Result<()> {
    let (mut names, values) = (NAMES.map(CStr::as_ptr), parameters.map(|value| value as _));
    // SAFETY: as many names as values; CLBlast copies both.
    let status = unsafe {
        sys::CLBlastOverrideParameters(
            device.cast(),
            c"Xgemm".as_ptr(),
            sys::CLBlastPrecision__CLBlastPrecisionSingle,
            names.len() as _,
            names.as_mut_ptr(),
            values.as_ptr(),
        )
    };
    check("the override of its parameters", status)
}

fn check(what: &str, status: i32) -> Result<()> {
    match status {
        0 => Ok(()),
        code => Err(unavailable(format!("CLBlast, {what}: status {code}"))),
    }
}
