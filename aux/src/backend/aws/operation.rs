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
    ReceiveMessage,
    /// AWS's operation `DeleteMessageBatch`, under the name that the metrics use.
    DeleteMessage,
}

impl Operation {
    /// The operations that read parameters and buckets.
    pub(super) const OF_STORE: [Self; 5] = [
        Self::ListBuckets,
        Self::DescribeParameters,
        Self::GetParameter,
        Self::GetParameters,
        Self::GetParametersByPath,
    ];

    /// The operations on the queue of changes.
    pub(super) const OF_QUEUE: [Self; 2] = [Self::ReceiveMessage, Self::DeleteMessage];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::DescribeParameters => "DescribeParameters",
            Self::GetParameter => "GetParameter",
            Self::GetParameters => "GetParameters",
            Self::GetParametersByPath => "GetParametersByPath",
            Self::ReceiveMessage => "ReceiveMessage",
            Self::DeleteMessage => "DeleteMessage",
        }
    }

    /// The quota that the operation uses. The operations on a queue have none: SQS allows more calls
    /// than one reader can make.
    pub(super) fn group(self) -> Option<Group> {
        match self {
            Self::ListBuckets => Some(Group::BucketLists),
            Self::DescribeParameters => Some(Group::ParameterLists),
            Self::GetParameter | Self::GetParameters | Self::GetParametersByPath => {
                Some(Group::Reads)
            }
            Self::ReceiveMessage | Self::DeleteMessage => None,
        }
    }
}
