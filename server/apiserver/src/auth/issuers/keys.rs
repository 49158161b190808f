//! JSON Web Keys of others, and the signatures that they make (RFC 7517, RFC 7518): RSA, P-256 and P-384.
//!
//! What is not here: ES512, whose curve (P-521) *ring* does not know, and EdDSA, which upstream does not take either.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use sampan_api::go::Quote as _;
use serde_json::Value;

use crate::value::{at, items, text};

/// The public keys of one issuer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Keys {
    usable: Vec<Key>,
    unusable: usize,
}

#[derive(Debug, PartialEq)]
struct Key {
    id: String,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// The curve's name, and the uncompressed point.
    Curve(String, Vec<u8>),
}

/// How tokens may be signed: with a private key, never with a shared secret.
enum Algorithm {
    Rsa(&'static RsaParameters),
    Curve(&'static str, &'static dyn VerificationAlgorithm),
}

fn algorithm(name: &str) -> Option<Algorithm> {
    use Algorithm::{Curve, Rsa};
    Some(match name {
        "RS256" => Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        "PS256" => Rsa(&signature::RSA_PSS_2048_8192_SHA256),
        "PS384" => Rsa(&signature::RSA_PSS_2048_8192_SHA384),
        "PS512" => Rsa(&signature::RSA_PSS_2048_8192_SHA512),
        "ES256" => Curve("P-256", &signature::ECDSA_P256_SHA256_FIXED),
        "ES384" => Curve("P-384", &signature::ECDSA_P384_SHA384_FIXED),
        _ => return None,
    })
}

fn unsupported(name: &str) -> String {
    format!("oidc: id token signed with unsupported algorithm, got {}", name.quoted())
}

/// Whether keys can make signatures of that sort.
pub(super) fn supported(name: &str) -> Result<(), String> {
    algorithm(name).map(drop).ok_or_else(|| unsupported(name))
}

impl Keys {
    /// Reads a key set; keys that cannot be used here are passed over.
    pub fn read(set: &Value) -> Self {
        let all = items(at(set, &["keys"]));
        let usable: Vec<Key> = all.iter().filter_map(key).collect();
        Self { unusable: all.len() - usable.len(), usable }
    }

    /// How many keys of the set were passed over.
    pub fn unusable(&self) -> usize {
        self.unusable
    }

    /// Whether one of the keys made the signature; the token names `id`, or none.
    pub fn verify(&self, name: &str, id: &str, message: &[u8], signature: &[u8]) -> Result<(), String> {
        let algorithm = algorithm(name).ok_or_else(|| unsupported(name))?;
        let mut candidates = self.usable.iter().filter(|key| id.is_empty() || key.id == id);
        match candidates.any(|key| key.made(&algorithm, message, signature)) {
            true => Ok(()),
            false => Err("failed to verify signature: failed to verify id token signature".into()),
        }
    }
}

fn key(key: &Value) -> Option<Key> {
    // some issuers pad, against RFC 7515
    let part = |name: &str| URL_SAFE_NO_PAD.decode(text(key, &[name]).trim_end_matches('=')).ok();
    // … and some write a number with a sign, which *ring* does not take
    let number = |name: &str| {
        let bytes = part(name)?;
        let first = bytes.iter().position(|byte| *byte != 0)?;
        Some(bytes[first..].to_vec())
    };
    if text(key, &["use"]) == "enc" {
        return None;
    }
    let kind = match text(key, &["kty"]) {
        "RSA" => Kind::Rsa { modulus: number("n")?, exponent: number("e")? },
        "EC" => {
            let point = [vec![4], part("x")?, part("y")?].concat();
            Kind::Curve(text(key, &["crv"]).to_owned(), point)
        }
        _ => return None,
    };
    Some(Key { id: text(key, &["kid"]).to_owned(), kind })
}

impl Key {
    fn made(&self, algorithm: &Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (&self.kind, algorithm) {
            (Kind::Rsa { modulus, exponent }, Algorithm::Rsa(parameters)) => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signature).is_ok()
            }
            (Kind::Curve(curve, point), Algorithm::Curve(wanted, algorithm)) => {
                curve == wanted
                    && UnparsedPublicKey::new(*algorithm, point).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn signatures_are_those_of_the_named_key() {
        // RFC 7515, A.2 and A.3: the same claims, signed by an RSA key and one of P-256
        let claims =
            "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let keys = Keys::read(&json!({"keys": [
            {"kty": "RSA", "kid": "r", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
            {"kty": "EC", "kid": "e", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
            {"kty": "oct", "kid": "s", "k": "AAAA"}]}));
        let rsa = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let curve = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let of = |alg: &str, header: &str, id: &str, signature: &str| {
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
            keys.verify(alg, id, format!("{header}.{claims}").as_bytes(), &signature)
        };
        assert_eq!(of("RS256", "eyJhbGciOiJSUzI1NiJ9", "r", rsa), Ok(()));
        assert_eq!(of("RS256", "eyJhbGciOiJSUzI1NiJ9", "", rsa), Ok(()));
        assert_eq!(of("ES256", "eyJhbGciOiJFUzI1NiJ9", "e", curve), Ok(()));
        assert_eq!(keys.unusable(), 1);
        for (alg, header, id, signature) in [
            ("RS256", "eyJhbGciOiJSUzI1NiJ9", "e", rsa),
            ("RS384", "eyJhbGciOiJSUzI1NiJ9", "r", rsa),
            ("RS256", "eyJhbGciOiJSUzI1NiI9", "r", rsa),
            ("ES256", "eyJhbGciOiJFUzI1NiJ9", "other", curve),
            ("none", "eyJhbGciOiJFUzI1NiJ9", "", ""),
            ("HS256", "eyJhbGciOiJFUzI1NiJ9", "s", ""),
        ] {
            assert!(of(alg, header, id, signature).is_err(), "{alg} {id}");
        }
    }

    #[test]
    fn numbers_may_be_written_longer_than_they_are() {
        let plain = Keys::read(&json!({"keys": [{"kty": "RSA", "n": "gAEC", "e": "AQAB"}]}));
        let longer = Keys::read(&json!({"keys": [{"kty": "RSA", "n": "AIABAg==", "e": "AAEAAQ=="}]}));
        assert_eq!(plain, longer);
        assert_eq!(Keys::read(&json!({"keys": [{"kty": "RSA", "n": "AAAA", "e": "AQAB"}]})).unusable(), 1);
    }
}
