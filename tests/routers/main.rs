//! The routers against golden pairs, tables of refusals, and properties. Writes are applied to the objects as
//! the API server would, by a JSON Patch library that is not ours.

#[cfg(test)]
mod golden;
#[cfg(test)]
mod model;
#[cfg(test)]
mod object;
#[cfg(test)]
mod property;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod traefik;
mod verification;
