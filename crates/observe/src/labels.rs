//! Enums whose variants have a name in the log and in the metrics: one row each.

/// Declares an enum by rows of a variant and its name, with `ALL` and `name`.
macro_rules! named_values {
    (
        $(#[$about:meta])*
        $vis:vis enum $enum:ident {
            $($(#[$doc:meta])+ $variant:ident = $name:literal;)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $enum {
            $($(#[$doc])+ $variant,)+
        }

        impl $enum {
            /// Every value, in the order of their numbers.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// As in the log and in the metrics.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

pub(crate) use named_values;
