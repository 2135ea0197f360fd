//! The system's Vulkan: its loader, opened at run time, and the devices that it finds. Once for the whole process, since
//! drivers do not like to be unloaded.
#![allow(unsafe_code, reason = "calls the Vulkan loader")]

use std::borrow::Cow;
use std::ffi::{CStr, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};

use ash::vk;

use crate::vulkan::probe::{Found, probe};

/// Set to 1, it switches on the checks of the validation layer, where that is installed.
pub const VALIDATION_VARIABLE: &str = "ROOFTILE_VULKAN_VALIDATION";
const VALIDATION_LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";

/// A loader with devices.
pub(crate) struct Driver {
    /// The loader's instance.
    pub(crate) instance: ash::Instance,
    /// Devices that can be used: discrete ones first, then integrated, then the rest, as the loader orders each kind.
    pub(crate) devices: Vec<Found>,
    /// Why the others cannot.
    pub(crate) refused: Vec<String>,
    /// Whether the validation layer watches.
    pub(crate) validated: bool,
    // Holds the library.
    _entry: ash::Entry,
}

/// The driver, opened on the first call; or why there is none.
pub(crate) fn driver() -> Result<&'static Driver, &'static str> {
    static DRIVER: OnceLock<Result<Driver, String>> = OnceLock::new();
    DRIVER.get_or_init(open).as_ref().map_err(String::as_str)
}

/// The device with a number, from 0; or why there is none.
pub(crate) fn found(index: usize) -> Result<(&'static Driver, &'static Found), String> {
    let driver = driver()?;
    match (driver.devices.get(index), driver.devices.len()) {
        (Some(found), _) => Ok((driver, found)),
        (None, 0) if driver.refused.is_empty() => Err("the Vulkan loader finds no device".to_owned()),
        (None, 0) => Err(driver.refused.join("; ")),
        (None, 1) => Err("there is only one Vulkan device".to_owned()),
        (None, count) => Err(format!("there are only {count} Vulkan devices")),
    }
}

/// Everything that the validation layer has found wrong in this process so far; errors and warnings.
#[must_use]
pub fn validation_messages() -> Vec<String> {
    MESSAGES.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|m| m.text.clone()).collect()
}

/// Whether the validation layer watches every call.
#[must_use]
pub fn is_validated() -> bool {
    driver().is_ok_and(|d| d.validated)
}

/// A message of the validation layer.
struct Message {
    error: bool,
    text: String,
}

static MESSAGES: Mutex<Vec<Message>> = Mutex::new(Vec::new());

/// How many messages there are so far.
pub(crate) fn messages_so_far() -> usize {
    MESSAGES.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// The first error behind so many messages.
pub(crate) fn error_since(count: usize) -> Option<String> {
    let messages = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
    messages.iter().skip(count).find(|m| m.error).map(|m| m.text.clone())
}

/// Most messages that are kept: a program that is wrong is wrong in every run.
const MOST_MESSAGES: usize = 1000;

unsafe extern "system" fn note(
    severity: vk::DebugUtilsMessageSeverityFlagsEXT,
    _kinds: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    _user: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: the layer passes a live structure, whose message is a C string or null.
    let text = unsafe { data.as_ref() }
        .filter(|data| !data.p_message.is_null())
        // SAFETY: as above.
        .map_or(Cow::Borrowed("no text"), |data| unsafe { CStr::from_ptr(data.p_message) }.to_string_lossy());
    let error = severity.contains(vk::DebugUtilsMessageSeverityFlagsEXT::ERROR);
    let mut messages = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
    if messages.len() < MOST_MESSAGES {
        messages.push(Message { error, text: text.into_owned() });
    }
    vk::FALSE
}

fn open() -> Result<Driver, String> {
    // SAFETY: the library is the system's Vulkan loader, whose initialisers are trusted.
    let entry = unsafe { ash::Entry::load() }.map_err(|e| format!("no Vulkan loader: {e}"))?;
    // SAFETY: the loader is open.
    let version = unsafe { entry.try_enumerate_instance_version() }.ok().flatten();
    if version.unwrap_or(vk::API_VERSION_1_0) < vk::API_VERSION_1_3 {
        return Err("the Vulkan loader is older than 1.3".to_owned());
    }
    let validated = std::env::var(VALIDATION_VARIABLE).is_ok_and(|v| v == "1") && has_validation(&entry);
    let app = vk::ApplicationInfo::default().application_name(c"rooftile").api_version(vk::API_VERSION_1_3);
    let layers = [VALIDATION_LAYER.as_ptr()];
    let extensions = [ash::ext::debug_utils::NAME.as_ptr()];
    let severities =
        vk::DebugUtilsMessageSeverityFlagsEXT::ERROR | vk::DebugUtilsMessageSeverityFlagsEXT::WARNING;
    let kinds = vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION | vk::DebugUtilsMessageTypeFlagsEXT::GENERAL;
    let messenger = vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(severities)
        .message_type(kinds)
        .pfn_user_callback(Some(note));
    let mut while_created = messenger;
    let mut create = vk::InstanceCreateInfo::default().application_info(&app);
    if validated {
        create = create
            .enabled_layer_names(&layers)
            .enabled_extension_names(&extensions)
            .push_next(&mut while_created);
    }
    // SAFETY: the structure and all that it points at live through the call.
    let instance = unsafe { entry.create_instance(&create, None) }.map_err(|e| match e {
        vk::Result::ERROR_INCOMPATIBLE_DRIVER => "the Vulkan loader finds no driver".to_owned(),
        e => format!("no Vulkan instance: {e}"),
    })?;
    if validated {
        let debug = ash::ext::debug_utils::Instance::new(&entry, &instance);
        // SAFETY: the extension is enabled; the callback is a function that lives as long as the process.
        unsafe { debug.create_debug_utils_messenger(&messenger, None) }
            .map_err(|e| format!("no messages of the validation layer: {e}"))?;
    }
    // SAFETY: the instance is live.
    let handles =
        unsafe { instance.enumerate_physical_devices() }.map_err(|e| format!("no Vulkan device: {e}"))?;
    let (mut devices, mut refused) = (Vec::new(), Vec::new());
    for handle in handles {
        match probe(&entry, &instance, handle) {
            Ok(found) => devices.push(found),
            Err(why) => refused.push(why),
        }
    }
    devices.sort_by_key(|found| match found.kind {
        vk::PhysicalDeviceType::DISCRETE_GPU => 0,
        vk::PhysicalDeviceType::INTEGRATED_GPU => 1,
        _ => 2,
    });
    Ok(Driver { instance, devices, refused, validated, _entry: entry })
}

fn has_validation(entry: &ash::Entry) -> bool {
    // SAFETY: the loader is open.
    let layers = unsafe { entry.enumerate_instance_layer_properties() }.unwrap_or_default();
    layers.iter().any(|layer| layer.layer_name_as_c_str() == Ok(VALIDATION_LAYER))
}
