//! The future of a layer that either calls the service below it or responds by itself.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::response::Response;
use pin_project_lite::pin_project;

/// The response of a service. Errors are responses too, so no service of the stack fails.
pub(crate) type Answer = Result<Response, Infallible>;

pin_project! {
    /// The inner service's response, or one that the layer gave instead.
    #[project = RespondProjection]
    pub(crate) enum Respond<F> {
        Call { #[pin] inner: F },
        Refuse { response: Option<Response> },
    }
}

impl<F> Respond<F> {
    pub(crate) fn call(inner: F) -> Self {
        Self::Call { inner }
    }

    pub(crate) fn refuse(response: Response) -> Self {
        Self::Refuse { response: Some(response) }
    }
}

impl<F: Future<Output = Answer>> Future for Respond<F> {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        match self.project() {
            RespondProjection::Call { inner } => inner.poll(cx),
            RespondProjection::Refuse { response } => {
                Poll::Ready(Ok(response.take().expect("a future is not polled after its end")))
            }
        }
    }
}
