//! The kernels of `kernels.cu` on the CPU, for tests: the file is compiled as C and each kernel called index by index.

use std::cell::RefCell;
use std::path::Path;
use std::process::Command;
use std::ptr;

use candle_core::{Error, Result};
use libloading::{Library, Symbol};

use super::{Dims, Gpu, Launch};

type Kernel =
    unsafe extern "C" fn(*const f32, *const f32, *const f32, *const f32, *const f32, *mut f32, Dims, i32);

/// The compiled kernels, and the names of those that ran.
pub(super) struct Host {
    library: Library,
    pub(super) ran: RefCell<Vec<&'static str>>,
}

impl Host {
    /// Compiles the kernels into `folder`.
    pub(super) fn compile(folder: &Path) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/nn/gpu/kernels.cu");
        let library = folder.join("kernels.so");
        let flags = ["-x", "c", "-std=c11", "-O2", "-shared", "-fPIC", "-ffp-contract=off", "-o"];
        let done = Command::new("cc").args(flags).arg(&library).arg(source).arg("-lm").status().unwrap();
        assert!(done.success(), "the kernels do not compile as C");
        // SAFETY: a library without constructors.
        Self { library: unsafe { Library::new(&library) }.unwrap(), ran: RefCell::default() }
    }
}

impl Gpu for Host {
    type Buffer = Vec<f32>;

    fn upload(&self, values: &[f32]) -> Result<Vec<f32>> {
        Ok(values.to_vec())
    }

    fn room(&self, len: usize) -> Result<Vec<f32>> {
        // What was not written must not look like a result.
        Ok(vec![f32::NAN; len])
    }

    fn launch(&self, launch: Launch<'_, Vec<f32>>) -> Result<()> {
        let Launch { kernel, count, x, weight, bias, slope, add, to, dims } = launch;
        self.ran.borrow_mut().push(kernel);
        let of = |values: Option<&Vec<f32>>| values.map_or(ptr::null(), |values| values.as_ptr());
        // SAFETY: signatures are those of kernels.cu; the buffers live until the call returns.
        unsafe {
            let set_index: Symbol<'_, unsafe extern "C" fn(i32)> =
                self.library.get(b"set_index").map_err(Error::wrap)?;
            let run: Symbol<'_, Kernel> = self.library.get(kernel.as_bytes()).map_err(Error::wrap)?;
            // A GPU runs whole blocks: indices beyond the last must do nothing.
            for index in 0..count.next_multiple_of(32) as i32 {
                set_index(index);
                let to = to.as_mut_ptr();
                run(x.as_ptr(), of(weight), of(bias), of(slope), of(add), to, dims, count as i32);
            }
        }
        Ok(())
    }
}
