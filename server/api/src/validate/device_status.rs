//! What drivers say of the devices that a claim was given: `validateDeviceStatus` of `pkg/apis/resource/validation`.

use serde_json::{Value, json};

use super::access::*;
use super::devices::{few, pool_name, unique};
use super::volume_sources::csi_driver;
use crate::status::FieldError;
use crate::validation::{is_dns1123_label, is_interface_address, is_qualified_name};

const MOST_CONDITIONS: usize = 8;
const MOST_DATA_BYTES: usize = 10 << 10;
const MOST_ADDRESSES: usize = 16;
const MOST_INTERFACE_BYTES: usize = 256;
const MOST_HARDWARE_BYTES: usize = 128;
const MOST_REASON_BYTES: usize = 1 << 10;
const MOST_MESSAGE_BYTES: usize = 32 << 10;
const BAD_REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// The devices of a claim's status.
pub(super) fn devices(status: &Value, errors: &mut Errors) {
    let results = list(get(get(status, "allocation"), "devices"), "results");
    let allocated: Vec<Value> = results.iter().map(identity).collect();
    let devices: Vec<(String, &Value)> = each(status, "devices", "status").collect();
    for (at, device) in &devices {
        one(device, &allocated, at, errors);
    }
    unique(&devices, identity, errors);
}

fn identity(device: &Value) -> Value {
    json!({"Driver": text(device, "driver"), "Pool": text(device, "pool"), "Device": text(device, "device"),
        "ShareID": text(device, "shareID")})
}

fn one(device: &Value, allocated: &[Value], at: &str, errors: &mut Errors) {
    csi_driver(text(device, "driver"), &join(at, "driver"), errors);
    pool_name(text(device, "pool"), &join(at, "pool"), errors);
    let name = text(device, "device");
    invalid_each(errors, &join(at, "device"), name, is_dns1123_label(name));
    let id = identity(device);
    if !allocated.contains(&id) {
        errors.push(FieldError::invalid(at, id, "must be an allocated device in the claim"));
    }
    let count = list(device, "conditions").len();
    if count > MOST_CONDITIONS {
        errors.push(FieldError::too_many(join(at, "conditions"), count, MOST_CONDITIONS));
    }
    let conditions: Vec<(String, &Value)> = each(device, "conditions", at).collect();
    for (index, (at, condition)) in conditions.iter().enumerate() {
        let kind = text(condition, "type");
        if conditions[..index].iter().any(|(_, other)| text(other, "type") == kind) {
            errors.push(FieldError::duplicate(join(at, "type"), kind));
        }
        self::condition(condition, at, errors);
    }
    data(get(device, "data"), &join(at, "data"), errors);
    network(get(device, "networkData"), &join(at, "networkData"), errors);
}

/// `ValidateCondition` of `apimachinery`.
fn condition(condition: &Value, at: &str, errors: &mut Errors) {
    let kind = text(condition, "type");
    invalid_each(errors, &join(at, "type"), kind, is_qualified_name(kind));
    let (status, known) = (text(condition, "status"), ["False", "True", "Unknown"]);
    if !known.contains(&status) {
        errors.push(FieldError::not_supported(join(at, "status"), status, &known));
    }
    if let Some(generation) = int(condition, "observedGeneration").filter(|generation| *generation < 0) {
        let why = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(join(at, "observedGeneration"), generation, why));
    }
    if text(condition, "lastTransitionTime").is_empty() {
        errors.push(FieldError::required(join(at, "lastTransitionTime"), ""));
    }
    let reason = text(condition, "reason");
    if reason.is_empty() {
        errors.push(FieldError::required(join(at, "reason"), ""));
    } else if !is_reason(reason) {
        errors.push(FieldError::invalid(join(at, "reason"), reason, BAD_REASON));
    }
    for (key, most) in [("reason", MOST_REASON_BYTES), ("message", MOST_MESSAGE_BYTES)] {
        if text(condition, key).len() > most {
            errors.push(FieldError::too_long(join(at, key), most));
        }
    }
}

fn is_reason(reason: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = reason.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(|last| word(*last))
        && bytes.iter().all(|byte| word(*byte) || matches!(byte, b',' | b':'))
}

fn data(data: &Value, at: &str, errors: &mut Errors) {
    if data.is_null() {
        return;
    }
    if data.to_string().len() > MOST_DATA_BYTES {
        errors.push(FieldError::too_long(at, MOST_DATA_BYTES));
    } else if !data.is_object() {
        errors.push(FieldError::invalid(at, "<value omitted>", "must be a valid JSON object"));
    }
}

fn network(data: &Value, at: &str, errors: &mut Errors) {
    for (key, most) in [("interfaceName", MOST_INTERFACE_BYTES), ("hardwareAddress", MOST_HARDWARE_BYTES)] {
        if text(data, key).len() > most {
            errors.push(FieldError::too_long(join(at, key), most));
        }
    }
    let addresses = few(data, "ips", MOST_ADDRESSES, at, errors);
    for (at, address) in &addresses {
        let address = address.as_str().unwrap_or_default();
        invalid_each(errors, at, address, is_interface_address(address));
    }
    unique(&addresses, Value::clone, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(change: &str, value: Value) -> Vec<String> {
        let mut status = json!({
            "allocation": {"devices": {"results": [{"driver": "d.example", "pool": "p", "device": "x"}]}},
            "devices": [{"driver": "d.example", "pool": "p", "device": "x", "data": {"a": 1},
                "conditions": [{"type": "Ready", "status": "True", "reason": "Up", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "networkData": {"interfaceName": "n", "ips": ["10.9.8.7/24", "2001:db8::1/64"]}}]});
        if let Some(place) = status.pointer_mut(change) {
            *place = value;
        }
        let mut errors = Errors::new();
        devices(&status, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn drivers_speak_of_devices_that_were_given() {
        assert_eq!(shown("/nothing", json!(null)), [""; 0]);
        let cases = [
            (
                "/allocation",
                json!(null),
                "status.devices[0]: Invalid value: {\"Driver\":\"d.example\",\"Pool\":\"p\",\"Device\":\"x\",\"ShareID\":\"\"}: must be an allocated device in the claim",
            ),
            (
                "/devices/0/conditions/0/reason",
                json!(""),
                "status.devices[0].conditions[0].reason: Required value",
            ),
            (
                "/devices/0/data",
                json!([]),
                "status.devices[0].data: Invalid value: \"<value omitted>\": must be a valid JSON object",
            ),
            (
                "/devices/0/networkData/ips/0",
                json!("10.9.8.7"),
                "status.devices[0].networkData.ips[0]: Invalid value: \"10.9.8.7\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
            ),
            (
                "/devices/0/networkData/ips/1",
                json!("2001:db8:0::1/64"),
                "status.devices[0].networkData.ips[1]: Invalid value: \"2001:db8:0::1/64\": must be in canonical form (\"2001:db8::1/64\")",
            ),
        ];
        for (change, value, expected) in cases {
            assert_eq!(shown(change, value), [expected], "{change}");
        }
    }

    #[test]
    fn reasons_are_words() {
        for (reason, good) in
            [("a", true), ("ReasonA,B:c_", true), ("_a", false), ("1a", false), ("a,", false)]
        {
            assert_eq!(is_reason(reason), good, "{reason}");
        }
    }
}
