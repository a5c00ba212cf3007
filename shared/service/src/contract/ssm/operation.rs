//! The operations of the protocol.

/// An operation that reads parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    GetParameter,
    GetParameters,
    GetParametersByPath,
    DescribeParameters,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 4] = [
        Self::GetParameter,
        Self::GetParameters,
        Self::GetParametersByPath,
        Self::DescribeParameters,
    ];

    /// The value of `X-Amz-Target`.
    pub const fn target(self) -> &'static str {
        match self {
            Self::GetParameter => "AmazonSSM.GetParameter",
            Self::GetParameters => "AmazonSSM.GetParameters",
            Self::GetParametersByPath => "AmazonSSM.GetParametersByPath",
            Self::DescribeParameters => "AmazonSSM.DescribeParameters",
        }
    }

    /// Returns the operation of an `X-Amz-Target`.
    pub fn of_target(target: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.target().as_bytes() == target)
    }
}
