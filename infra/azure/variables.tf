variable "name" {
  description = "What the resources are called: small letters and digits. Storage accounts share one namespace with all of Azure."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{2,15}$", var.name))
    error_message = "3 to 16 small letters and digits, a letter first."
  }
}

variable "resource_group_name" {
  description = "The resource group that everything is made in. It is there already."
  type        = string
}

variable "location" {
  description = "The region. That of the storage account, else the traffic between them is paid for."
  type        = string
}

variable "storage_account_name" {
  description = "The ADLS Gen2 account (hierarchical namespace) that uploads and the lake are in. It is there already."
  type        = string
}

variable "storage_account_resource_group_name" {
  description = "Its resource group; empty: that of resource_group_name."
  type        = string
  default     = ""
}

variable "landing_container" {
  description = "The container that uploads are put in. It is made; all of it is landing."
  type        = string
  default     = "landing"
}

variable "lake_container" {
  description = "The container of the lake. It is there already: Unity Catalog's external location is on it. Empty: Unity Catalog keeps the tables (managed tables): a workspace is needed, and no container but that of uploads is touched."
  type        = string
  default     = ""
}

variable "lake_path" {
  description = "The folder of the lake in its container, without slashes at its ends."
  type        = string
  default     = "lake"

  validation {
    condition     = can(regex("^[^/].*[^/]$|^[^/]$", var.lake_path))
    error_message = "A folder below the container's root, without slashes at its ends."
  }
}

variable "system_topic_name" {
  description = "The Event Grid system topic of the storage account, when it has one already: an account has at most one. Empty: one is made."
  type        = string
  default     = ""
}

variable "workspace_url" {
  description = "The Databricks workspace. Empty: none; the tables are Delta tables in the lake, and no more. Needed without a lake."
  type        = string
  default     = ""
}

variable "catalog" {
  description = "The catalog of Unity Catalog."
  type        = string
  default     = ""
}

variable "http_path" {
  description = "HTTP path of the SQL warehouse, /sql/1.0/warehouses/ID."
  type        = string
  default     = ""
}

variable "client_id" {
  description = "Application id of the service principal that signs in at the workspace. Empty: the functions' own managed identity, which needs no secret."
  type        = string
  default     = ""
}

variable "client_secret_name" {
  description = "Name of the principal's OAuth secret in the key vault."
  type        = string
  default     = ""
}

variable "key_vault_id" {
  description = "The key vault of client_secret_name, with role-based access."
  type        = string
  default     = ""
}

variable "settings_url" {
  description = "A settings file in a store, which the functions' identity may read: abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/inlet.toml. Empty: LAKE/_inlet/inlet.toml, if it is there; without a lake, none."
  type        = string
  default     = ""
}

variable "runtime_version" {
  description = "The version of the runtime `custom`: az functionapp list-flexconsumption-runtimes --runtime custom"
  type        = string
  default     = "1.0"
}

variable "instance_memory_mb" {
  description = "Memory of an instance: 512, 2048 or 4096. With 2048 it has one core."
  type        = number
  default     = 2048

  validation {
    condition     = contains([512, 2048, 4096], var.instance_memory_mb)
    error_message = "512, 2048 or 4096."
  }
}

variable "maximum_instances" {
  description = "Instances at once. Each commits by itself, and commits to one table wait for each other."
  type        = number
  default     = 40

  validation {
    condition     = var.maximum_instances >= 1 && var.maximum_instances <= 1000
    error_message = "1 to 1000."
  }
}

variable "every_minutes" {
  description = "Minutes between two calls of evolve by its timer. Managed tables: also between two windows, in which staged rows are loaded."
  type        = number
  default     = 15

  validation {
    condition     = contains([5, 10, 15, 20, 30, 60], var.every_minutes)
    error_message = "5, 10, 15, 20, 30 or 60: parts of an hour."
  }
}

variable "evolve_schedule" {
  description = "When evolve is called without an event: {second} {minute} {hour} {day} {month} {day of week}. Empty: as often as every_minutes says. For managed tables and a warehouse that takes minutes to start, every five minutes has it started ahead of its window."
  type        = string
  default     = ""
}

variable "backfill_schedule" {
  description = "When the landing container is listed for uploads whose event got lost."
  type        = string
  default     = "0 30 3 * * *"
}

variable "maintain_schedule" {
  description = "When tables are put in order: small files made large ones, logs cut, files removed that nobody needs."
  type        = string
  default     = "0 0 4 * * *"
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30
}

variable "action_group_id" {
  description = "The action group that alerts are sent to. Empty: they stand in the portal and tell nobody."
  type        = string
  default     = ""
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
}
