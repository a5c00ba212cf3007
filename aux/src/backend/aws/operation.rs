//! The operations of AWS that this service calls.

use crate::quota::Group;

/// An operation, under the name that AWS uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    ListBuckets,
    DescribeParameters,
    GetParameter,
    GetParameters,
    GetParametersByPath,
}

impl Operation {
    pub(super) const ALL: [Self; 5] = [
        Self::ListBuckets,
        Self::DescribeParameters,
        Self::GetParameter,
        Self::GetParameters,
        Self::GetParametersByPath,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::DescribeParameters => "DescribeParameters",
            Self::GetParameter => "GetParameter",
            Self::GetParameters => "GetParameters",
            Self::GetParametersByPath => "GetParametersByPath",
        }
    }

    /// The quota that the operation uses.
    pub(super) fn group(self) -> Group {
        match self {
            Self::ListBuckets => Group::BucketLists,
            Self::DescribeParameters => Group::ParameterLists,
            Self::GetParameter | Self::GetParameters | Self::GetParametersByPath => Group::Reads,
        }
    }
}
