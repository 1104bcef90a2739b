//! The command line as its users see it: the real binary, its output and exit codes, against a broker that it starts
//! itself. `CORETIDE_TEST_BOOTSTRAP=HOST:PORT` runs the same against another cluster (but for the restart).

mod bench;
mod broker;
mod check;
mod tour;
mod without_a_broker;
