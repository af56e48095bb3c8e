//! The planner as a whole: scripted scenarios with the sequence of what is written, and properties over random
//! lives of a Rollout. A model of the cluster carries out every plan as the API server would.

#[cfg(test)]
mod ahead;
#[cfg(test)]
mod blame;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod property;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod scenario;
