//! Agent files on disk, read into an AgentSpec.
