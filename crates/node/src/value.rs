//! SQL values as JavaScript values.
//!
//! Integers become numbers (beyond 2^53 the nearest one), text a string, blobs a `Uint8Array`. On the way in a number
//! without a fraction is an integer, a boolean is 0 or 1, and NaN is NULL, as SQLite would have it.

#![expect(unsafe_code, reason = "napi-rs asks for conversions over raw values")]

use napi::bindgen_prelude::{FromNapiValue, Null, ToNapiValue, TypeName, Uint8Array, ValidateNapiValue};
use napi::{Error, Result, Status, ValueType, sys};
use nimbus_sqlite::{Row, Value};

/// The largest integer up to which every integer is a double (ECMA-262, `Number.MAX_SAFE_INTEGER`, plus one).
const SAFE_INTEGER: f64 = 9_007_199_254_740_992.0;

/// One value of a parameter or a column.
pub struct SqlValue(pub Value);

impl TypeName for SqlValue {
    fn type_name() -> &'static str {
        "SqlValue"
    }

    fn value_type() -> ValueType {
        ValueType::Unknown
    }
}

impl ValidateNapiValue for SqlValue {
    unsafe fn validate(_: sys::napi_env, _: sys::napi_value) -> Result<sys::napi_value> {
        Ok(std::ptr::null_mut())
    }
}

impl FromNapiValue for SqlValue {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        // SAFETY: `env` and `value` are those of the call in progress, as the trait demands of its callers.
        unsafe {
            Ok(Self(match napi::type_of!(env, value)? {
                ValueType::Null | ValueType::Undefined => Value::Null,
                ValueType::Number => number(f64::from_napi_value(env, value)?),
                ValueType::Boolean => Value::Integer(i64::from(bool::from_napi_value(env, value)?)),
                ValueType::String => Value::Text(String::from_napi_value(env, value)?),
                ValueType::Object => Value::Blob(Uint8Array::from_napi_value(env, value)?.to_vec()),
                other => {
                    let message = format!("a SQL parameter cannot be a {other}");
                    return Err(Error::new(Status::InvalidArg, message));
                }
            }))
        }
    }
}
fn number(number: f64) -> Value {
    let negative_zero = number == 0.0 && number.is_sign_negative();
    if number.is_nan() {
        Value::Null
    } else if number.fract() == 0.0 && number.abs() <= SAFE_INTEGER && !negative_zero {
        Value::Integer(number as i64)
    } else {
        Value::Real(number)
    }
}

impl ToNapiValue for SqlValue {
    unsafe fn to_napi_value(env: sys::napi_env, value: Self) -> Result<sys::napi_value> {
        // SAFETY: `env` is that of the call in progress, as the trait demands of its callers.
        unsafe {
            match value.0 {
                Value::Null => Null::to_napi_value(env, Null),
                Value::Integer(integer) => f64::to_napi_value(env, integer as f64),
                Value::Real(real) => f64::to_napi_value(env, real),
                Value::Text(text) => String::to_napi_value(env, text),
                Value::Blob(bytes) => Uint8Array::to_napi_value(env, Uint8Array::new(bytes)),
            }
        }
    }
}

/// A row on its way to JavaScript.
pub fn row(row: Row) -> Vec<SqlValue> {
    row.into_iter().map(SqlValue).collect()
}

/// Parameters on their way to SQLite.
pub fn parameters(values: Vec<SqlValue>) -> Vec<Value> {
    values.into_iter().map(|value| value.0).collect()
}
