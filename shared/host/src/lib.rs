//! Ring 3: where we run. A face finds uploads, hands them to a function, and says in its place's own words what came of
//! them: the terminal, AWS Lambda, and the custom handler of Azure Functions.

mod address;
mod announced;
mod azure;
mod delivery;
mod functions;
mod http;
mod installation;
mod invocation;
mod joined;
mod lake;
mod lambda;
mod landing;
mod log;
mod settings;
pub mod terminal;
pub mod trigger;
