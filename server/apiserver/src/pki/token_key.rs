//! The key that signs ServiceAccount tokens: ES256, published as a JSON Web Key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair as Pair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};

use super::Error;
use super::files::Folder;

/// A signing key with its id.
pub struct TokenKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    id: String,
}

/// The public half, as RFC 7517 writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    /// Key id.
    pub kid: String,
    /// The point's coordinates, base64url.
    pub x: String,
    /// See `x`.
    pub y: String,
}

impl Jwk {
    /// The JSON of one key.
    pub fn to_value(&self) -> Value {
        json!({"use": "sig", "kty": "EC", "kid": self.kid, "crv": "P-256", "alg": "ES256", "x": self.x, "y": self.y})
    }
}

impl TokenKey {
    pub(super) fn load_or_create(folder: &Folder) -> Result<Self, Error> {
        if let Some(pem) = folder.read("sa.key")? {
            return Self::parse(&pem).map_err(|why| folder.unusable("sa.key", why));
        }
        let pair = Pair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| Error::Crypto(e.to_string()))?;
        let pem = pair.serialize_pem();
        folder.write("sa.key", &pem)?;
        folder.write("sa.pub", &pair.public_key_pem())?;
        Self::parse(&pem).map_err(Error::Crypto)
    }

    fn parse(pem: &str) -> Result<Self, String> {
        let pair = Pair::from_pem(pem).map_err(|e| e.to_string())?;
        let random = SystemRandom::new();
        // upstream's key id: the SHA-256 of the public key's DER, base64url
        let id = URL_SAFE_NO_PAD
            .encode(ring::digest::digest(&ring::digest::SHA256, &pair.subject_public_key_info()));
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der(), &random)
            .map_err(|e| e.to_string())?;
        Ok(Self { pair, random, id })
    }

    /// The key's id, as in a token's header.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The signature of `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.pair.sign(&self.random, message).map_err(|e| Error::Crypto(e.to_string()))?;
        Ok(signature.as_ref().to_vec())
    }

    /// Whether `signature` is this key's for `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        key.verify(message, signature).is_ok()
    }

    /// The public half.
    pub fn jwk(&self) -> Jwk {
        // uncompressed point: 4, x, y
        let point = self.pair.public_key().as_ref();
        let half = |from: usize| URL_SAFE_NO_PAD.encode(point.get(from..from + 32).unwrap_or_default());
        Jwk { kid: self.id.clone(), x: half(1), y: half(33) }
    }

    /// The document at `/openid/v1/jwks`.
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.jwk().to_value()]})
    }
}
