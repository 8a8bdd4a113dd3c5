//! Judging encoders with the protocols of the field: 1:1 verification, 1:N open-set identification.
