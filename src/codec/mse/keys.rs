//! Diffie and Hellman's exchange in the group that the protocol fixes: 768 bits, generator 2.
//!
//! It hides what is spoken from those who only look on. It authenticates nobody, so chance here need be no secret of the system's.

use crypto_bigint::modular::ConstMontyForm;
use crypto_bigint::{U192, U768};

use crate::rng::Rng;

/// Bytes of a public key, and of the shared secret.
pub const KEY_BYTES: usize = 96;

/// Bits of a private number: more would make the exchange slower and, in this group, no stronger.
const PRIVATE_BITS: u32 = 160;

crypto_bigint::const_monty_params!(
    Prime,
    U768,
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404ddef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a63a36210000000000090563",
    "The prime of the group."
);

type Element = ConstMontyForm<Prime, { U768::LIMBS }>;

/// One side's private number.
#[derive(Clone, Debug)]
pub(super) struct Private(U192);

impl Private {
    /// Draws one.
    #[must_use]
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut bytes = [0; 24];
        rng.fill(&mut bytes[4..]);
        Self(U192::from_be_slice(&bytes))
    }

    /// What the other side is told. Takes some 80 microseconds.
    #[must_use]
    pub(super) fn public(&self) -> [u8; KEY_BYTES] {
        self.raise(&U768::from_u8(2))
    }

    /// What both sides know once each has the other's public key. Takes as long.
    #[must_use]
    pub(super) fn shared(&self, theirs: &[u8; KEY_BYTES]) -> [u8; KEY_BYTES] {
        self.raise(&U768::from_be_slice(theirs))
    }

    fn raise(&self, base: &U768) -> [u8; KEY_BYTES] {
        let power = Element::new(base).pow_bounded_exp(&self.0, PRIVATE_BITS);
        let mut bytes = [0; KEY_BYTES];
        bytes.copy_from_slice(power.retrieve().to_be_bytes().as_ref());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_those_of_the_group() {
        // From Python's pow(2, x, p).
        let private = Private(U192::from_u64(1000));
        let hex: String = private
            .public()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(hex, POWER_1000);
        let one = Private(U192::from_u64(1));
        assert_eq!(one.public()[95], 2);
        assert_eq!(one.shared(&[0; KEY_BYTES]), [0; KEY_BYTES]);
    }

    #[test]
    fn both_sides_come_to_the_same_secret() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let (a, b) = (Private::draw(&mut rng), Private::draw(&mut rng));
            assert_eq!(a.shared(&b.public()), b.shared(&a.public()), "seed {seed}");
            assert_ne!(a.public(), b.public(), "seed {seed}");
        }
    }

    const POWER_1000: &str = "48b61164cfcac5f17793b4b96dc36635fcc409ab74808a149f1146813b9ed4145e426f6524d8165214c158180c32f1e31d51d419c0f7208c1c7cbe10a5e1f7b66d5c0a46a786e798c3049b8580ac9e574c4df278ef7d7e9b109e64a7dfb230f4";
}
