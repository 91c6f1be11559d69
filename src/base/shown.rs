//! What a struct that holds a trait object shows of it: the trait's name.

/// Implements `Debug` for objects of a trait, so that structs which hold them can derive it.
///
/// As a supertrait, `Debug` would bring the fields of everything that implements the trait into the
/// program, and those of their fields, where nothing ever shows them.
macro_rules! shown_by_name {
    ($name:ident) => {
        impl std::fmt::Debug for dyn $name + '_ {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(stringify!($name))
            }
        }
    };
}

pub(crate) use shown_by_name;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    trait Deed: Send {}

    shown_by_name!(Deed);

    #[derive(Debug)]
    struct Holder {
        _deed: Arc<dyn Deed>,
    }

    struct Secretive;

    impl Deed for Secretive {}

    #[test]
    fn an_object_shows_the_name_of_its_trait() {
        let holder = Holder {
            _deed: Arc::new(Secretive),
        };
        assert_eq!(format!("{holder:?}"), "Holder { _deed: Deed }");
    }
}
