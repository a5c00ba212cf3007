# A user to try things out with. Its access key is made by hand: made here, the secret would lie in the state.

resource "aws_iam_user" "this" {
  count = var.method == "user" ? 1 : 0

  name                 = var.name
  permissions_boundary = var.permissions_boundary_arn
  # Keys made by hand go with the user.
  force_destroy = true
}

resource "aws_iam_user_policy_attachment" "this" {
  #checkov:skip=CKV_AWS_40:A group would have this one user; the user exists only where somebody asked for it to try things out.
  count = length(aws_iam_user.this)

  user       = aws_iam_user.this[0].name
  policy_arn = aws_iam_policy.this.arn
}
