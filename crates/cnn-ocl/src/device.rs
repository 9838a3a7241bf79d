//! The devices that this machine's drivers show.

use std::sync::{Mutex, PoisonError};

use cnn_core::Error;
use cnn_core::backend::DeviceInfo;
use opencl3::device::{CL_DEVICE_TYPE_ACCELERATOR, CL_DEVICE_TYPE_ALL, CL_DEVICE_TYPE_CPU, CL_DEVICE_TYPE_GPU, Device};
use opencl3::error_codes::ClError;
use opencl3::platform::get_platforms;

/// The loader's word that there is no library.
const NO_LIBRARY: i32 = -2000;

/// Names and places of an OpenCL library, the usual ones first. The loader looks for `libOpenCL.so` alone, unless the environment
/// variable `OPENCL_DYLIB_PATH` lists others, with `;` between them, before the first device is asked for.
pub const LIBRARIES: &[&str] = &[
    "libOpenCL.so",
    "libOpenCL.so.1",
    "libmali.so",
    "/usr/lib/x86_64-linux-gnu/libOpenCL.so.1",
    "/usr/lib/aarch64-linux-gnu/libOpenCL.so.1",
    "/usr/lib/arm-linux-gnueabihf/libOpenCL.so.1",
    "/usr/lib64/libOpenCL.so.1",
    "/usr/lib/libOpenCL.so.1",
    "/usr/local/cuda/lib64/libOpenCL.so.1",
    "/usr/lib/aarch64-linux-gnu/libmali.so",
    "/usr/lib/arm-linux-gnueabihf/libmali.so",
    "/usr/lib/libmali.so",
    "/vendor/lib64/libOpenCL.so",
    "/vendor/lib/libOpenCL.so",
    "/system/vendor/lib64/libOpenCL.so",
    "/system/vendor/lib/libOpenCL.so",
];

/// A device and what it says of itself.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its number over all platforms, as in `ocl:1`.
    pub index: usize,
    /// What a user sees of it.
    pub info: DeviceInfo,
    /// What kernels are fitted to.
    pub traits: Traits,
    pub(crate) device: Device,
}

/// What kernels are fitted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traits {
    /// The device's name.
    pub name: String,
    /// Its vendor, in one lower-case word.
    pub vendor: String,
    /// Its family, such as `midgard` or `pocl-16`.
    pub architecture: String,
    /// Whether it is the processor.
    pub is_cpu: bool,
    /// Whether it computes in half precision.
    pub half: bool,
    /// Bytes that the origin of a part of a buffer has to be a multiple of.
    pub alignment: usize,
    /// The most bytes of one buffer.
    pub largest_buffer: u64,
    /// Bytes of local memory that a group of work-items has.
    pub local_memory: u64,
    /// The most work-items of a group.
    pub largest_group: usize,
}

/// All devices of all platforms, GPUs first. Errors where there is no library, no platform or no device, with the fix.
pub fn devices() -> Result<Vec<Found>, Error> {
    // Drivers wake up when they are first asked, and PoCL 3.1 shows no device to a second thread that asks meanwhile.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let platforms = get_platforms().map_err(|error| unavailable(explain(&error)))?;
    let mut devices = Vec::new();
    for platform in &platforms {
        let name = platform.name().unwrap_or_default();
        // A platform without devices answers with an error.
        for id in platform.get_devices(CL_DEVICE_TYPE_ALL).unwrap_or_default() {
            let device = Device::new(id);
            match describe(&device, &name) {
                Ok((info, traits)) => devices.push(Found { index: 0, info, traits, device }),
                Err(error) => tracing::warn!("a device of `{name}` does not say what it is: {error}"),
            }
        }
    }
    if devices.is_empty() {
        let names = platforms.iter().map(|p| p.name().unwrap_or_default()).collect::<Vec<_>>().join(", ");
        return Err(unavailable(format!("no device on the platforms found ({names})")));
    }
    devices.sort_by_key(|found| found.traits.is_cpu);
    for (index, found) in devices.iter_mut().enumerate() {
        found.index = index;
    }
    Ok(devices)
}

/// A device by its number, or by a part of its name in any case; the first where `selector` is empty.
pub fn find(selector: &str) -> Result<Found, Error> {
    let mut devices = devices()?;
    let wanted = selector.to_lowercase();
    let position = match (wanted.as_str(), wanted.parse::<usize>()) {
        ("", _) => Some(0),
        (_, Ok(index)) => (index < devices.len()).then_some(index),
        (part, Err(_)) => devices.iter().position(|found| found.info.name.to_lowercase().contains(part)),
    };
    let known = || devices.iter().map(|f| format!("{} {}", f.index, f.info.name)).collect::<Vec<_>>().join(", ");
    match position {
        Some(index) => Ok(devices.swap_remove(index)),
        None => Err(unavailable(format!("no OpenCL device `{selector}`; found are {}", known()))),
    }
}

/// An OpenCL library under another name than the loader looks for.
fn library_elsewhere() -> Option<&'static str> {
    let is_there = |path: &&str| path.starts_with('/') && std::path::Path::new(path).exists();
    LIBRARIES.iter().copied().find(is_there)
}

fn explain(error: &ClError) -> String {
    const INSTALL: &str = "install the driver of the device, or `ocl-icd-libopencl1` and `pocl-opencl-icd` on Debian to run \
                           on the processor";
    let told = std::env::var_os("OPENCL_DYLIB_PATH").is_some();
    match (error.0, library_elsewhere()) {
        (NO_LIBRARY, _) if told => {
            format!("no OpenCL library for this processor is among those that OPENCL_DYLIB_PATH lists: {INSTALL}")
        }
        (NO_LIBRARY, Some(path)) => {
            format!("libOpenCL.so is not on the loader's path, but there is {path}: set OPENCL_DYLIB_PATH={path}")
        }
        (NO_LIBRARY, None) => format!("no libOpenCL.so: {INSTALL}"),
        _ => format!(
            "no OpenCL platform ({error}): the loader is there and finds no driver; each driver needs a file in \
             /etc/OpenCL/vendors with the path of its library, such as libmali.so or libpocl.so.2"
        ),
    }
}

/// That the backend cannot be had.
pub(crate) fn unavailable(reason: String) -> Error {
    Error::Backend { backend: "ocl".to_string(), reason }
}

fn describe(device: &Device, platform: &str) -> Result<(DeviceInfo, Traits), ClError> {
    let (name, kind) = (device.name()?, device.dev_type()?);
    let extensions = device.extensions()?;
    let has = |extension: &str| extensions.split_whitespace().any(|e| e == extension);
    let mut info = DeviceInfo::named(name.trim());
    info.driver = format!("{platform}, {}, driver {}", device.version()?.trim(), device.driver_version()?.trim());
    info.memory = device.global_mem_size()?;
    info.threads = device.max_compute_units()? as usize;
    let types = [(CL_DEVICE_TYPE_CPU, "cpu"), (CL_DEVICE_TYPE_GPU, "gpu"), (CL_DEVICE_TYPE_ACCELERATOR, "accelerator")];
    info.features = types.iter().filter(|(bit, _)| kind & bit != 0).map(|(_, name)| name.to_string()).collect();
    let half = has("cl_khr_fp16");
    info.features.extend(half.then(|| "fp16".to_string()));
    let vendor_words = format!("{} {platform}", device.vendor()?).to_lowercase();
    let vendors = ["arm", "qualcomm", "nvidia", "intel", "amd", "advanced micro"];
    let vendor = vendors.into_iter().find(|v| vendor_words.contains(v)).unwrap_or("unknown");
    let is_cpu = kind & CL_DEVICE_TYPE_CPU != 0;
    let lanes = device.native_vector_width_float()?;
    let traits = Traits {
        architecture: architecture(&name, platform, vendor, lanes),
        name,
        vendor: vendor.replace("advanced micro", "amd"),
        is_cpu,
        half,
        alignment: (device.mem_base_addr_align()? as usize / 8).max(64),
        largest_buffer: device.max_mem_alloc_size()?,
        local_memory: device.local_mem_size()?,
        largest_group: device.max_work_group_size()?,
    };
    Ok((info, traits))
}

/// The family that a device belongs to, by its name; of the processor, the width of its vectors.
fn architecture(name: &str, platform: &str, vendor: &str, lanes: u32) -> String {
    if platform.contains("Portable Computing Language") && !name.to_lowercase().contains("cuda") {
        return format!("pocl-{lanes}");
    }
    let after = |prefix: &str| name.split_once(prefix).map(|(_, rest)| rest);
    if let Some(model) = after("Mali-T") {
        return if model.starts_with(['6', '7', '8']) { "midgard" } else { "mali" }.to_string();
    }
    if let Some(model) = after("Mali-G") {
        let number: u32 = model.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
        return if [31, 51, 52, 71, 72, 76].contains(&number) { "bifrost" } else { "valhall" }.to_string();
    }
    match vendor {
        "qualcomm" => "adreno".to_string(),
        "advanced micro" => "amd".to_string(),
        vendor => vendor.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::architecture;

    #[test]
    fn families_are_known_by_name() {
        let pocl = "Portable Computing Language";
        assert_eq!(architecture("pthread-skylake-avx512-AMD EPYC", pocl, "amd", 16), "pocl-16");
        assert_eq!(architecture("Mali-T628", "ARM Platform", "arm", 4), "midgard");
        assert_eq!(architecture("Mali-G52 r1p0", "ARM Platform", "arm", 4), "bifrost");
        assert_eq!(architecture("Mali-G610", "ARM Platform", "arm", 4), "valhall");
        assert_eq!(architecture("QUALCOMM Adreno(TM)", "QUALCOMM Snapdragon(TM)", "qualcomm", 1), "adreno");
        assert_eq!(architecture("NVIDIA H200", "NVIDIA CUDA", "nvidia", 1), "nvidia");
    }
}
