// SPDX-License-Identifier: Apache-2.0
//! Which properties a type has, asked of the type itself: a serde source that answers every
//! question with something, and writes down what it was asked for.
//!
//! serde's derive hands the list of a struct's fields to its source, so a field that a new version
//! of oci-spec brings shows up here by itself.

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess};
use serde::de::{VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

/// The paths of all properties below a type that hold no further properties, as
/// `mounts[].options` and `linux.sysctl.*`.
pub fn properties<T: serde::de::DeserializeOwned>() -> Vec<String> {
    let mut found = Vec::new();
    T::deserialize(Source { path: String::new(), found: &mut found }).expect("every question is answered");
    found
}

struct Source<'a> {
    path: String,
    found: &'a mut Vec<String>,
}

impl Source<'_> {
    fn below(&mut self, step: &str) -> Source<'_> {
        Source { path: format!("{}{step}", self.path), found: self.found }
    }

    /// A value: nothing is below it.
    fn note(&mut self) {
        let path = std::mem::take(&mut self.path);
        if !self.found.contains(&path) {
            self.found.push(path);
        }
    }
}

macro_rules! number {
    ($($ask:ident $answer:ident,)*) => {
        $(fn $ask<V: Visitor<'static>>(mut self, visitor: V) -> Result<V::Value, Error> {
            self.note();
            visitor.$answer(0)
        })*
    };
}

impl Deserializer<'static> for Source<'_> {
    type Error = Error;

    number! {
        deserialize_i16 visit_i16, deserialize_i32 visit_i32, deserialize_i64 visit_i64,
        deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32, deserialize_u64 visit_u64,
    }

    fn deserialize_any<V: Visitor<'static>>(mut self, visitor: V) -> Result<V::Value, Error> {
        // Texts that oci-spec reads on: a capability, a list of CPUs.
        let text = if self.path.starts_with("process.capabilities.") { "CAP_CHOWN" } else { "0" };
        self.note();
        visitor.visit_borrowed_str(text)
    }

    fn deserialize_bool<V: Visitor<'static>>(mut self, visitor: V) -> Result<V::Value, Error> {
        self.note();
        visitor.visit_bool(true)
    }

    fn deserialize_option<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'static>>(mut self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(One(Some(self.below("[]"))))
    }

    fn deserialize_map<V: Visitor<'static>>(mut self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Fields { names: &["*"], source: self.below("") })
    }

    fn deserialize_struct<V: Visitor<'static>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Fields { names, source: self })
    }

    fn deserialize_enum<V: Visitor<'static>>(
        mut self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.note();
        visitor.visit_enum(Word(words[0]))
    }

    forward_to_deserialize_any! {
        <V: Visitor<'static>>
        i8 i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct
        identifier ignored_any
    }
}

/// A list of one.
struct One<'a>(Option<Source<'a>>);

impl SeqAccess<'static> for One<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'static>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|source| seed.deserialize(source)).transpose()
    }
}

/// Every field once.
struct Fields<'a> {
    names: &'static [&'static str],
    source: Source<'a>,
}

impl MapAccess<'static> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'static>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(name) = self.names.first() else { return Ok(None) };
        let name: StrDeserializer<'static, Error> = (*name).into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'static>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (name, rest) = self.names.split_first().expect("a key came before");
        self.names = rest;
        let dot = if self.source.path.is_empty() { "" } else { "." };
        seed.deserialize(self.source.below(&format!("{dot}{name}")))
    }
}

/// One word of an enum.
struct Word(&'static str);

impl EnumAccess<'static> for Word {
    type Error = Error;
    type Variant = Unit;

    fn variant_seed<V: DeserializeSeed<'static>>(self, seed: V) -> Result<(V::Value, Unit), Error> {
        let word: StrDeserializer<'static, Error> = self.0.into_deserializer();
        Ok((seed.deserialize(word)?, Unit))
    }
}

struct Unit;

impl VariantAccess<'static> for Unit {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'static>>(self, _: T) -> Result<T::Value, Error> {
        Err(serde::de::Error::custom("a word with a value"))
    }

    fn tuple_variant<V: Visitor<'static>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("a word with a value"))
    }

    fn struct_variant<V: Visitor<'static>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("a word with a value"))
    }
}
