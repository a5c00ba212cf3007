# A queue of parameter changes, for a cache that must not wait for its TTL. It is off by default.

locals {
  change_queues = var.change_queue == null ? {} : { queue = var.change_queue }
}

resource "aws_sqs_queue" "changes" {
  for_each = local.change_queues

  name                    = each.value.name
  sqs_managed_sse_enabled = true

  # After five minutes the cache's TTL has ended, so a message that old has no use.
  message_retention_seconds  = 300
  receive_wait_time_seconds  = 20
  visibility_timeout_seconds = 30
}

resource "aws_cloudwatch_event_rule" "changes" {
  for_each = local.change_queues

  name        = each.value.name
  description = "Parameters that changed below the prefixes that aux-service reads"

  event_pattern = jsonencode({
    source      = ["aws.ssm"]
    detail-type = ["Parameter Store Change"]
    detail = {
      name      = [for p in sort(each.value.prefixes) : { prefix = p }]
      operation = ["Create", "Update", "Delete"]
    }
  })
}

resource "aws_cloudwatch_event_target" "changes" {
  for_each = local.change_queues

  rule = aws_cloudwatch_event_rule.changes[each.key].name
  arn  = aws_sqs_queue.changes[each.key].arn
}

resource "aws_sqs_queue_policy" "changes" {
  for_each = local.change_queues

  queue_url = aws_sqs_queue.changes[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyThisRuleSends"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.changes[each.key].arn
        Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.changes[each.key].arn } }
      },
      {
        Sid       = "RefuseUnencryptedTransport"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.changes[each.key].arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}
