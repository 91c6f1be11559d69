//! A server on loopback that speaks the providers' true protocols, by script.
